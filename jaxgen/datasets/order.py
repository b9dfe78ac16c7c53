"""Which images a step's batch holds: a pure function of (seed, step), read one step ahead."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
  """The permutation of `count` images in one epoch; not to be written to."""
  return np.random.default_rng((seed, epoch)).permutation(count)


def batch_rows(count: int, batch_size: int, seed: int, step: int) -> np.ndarray:
  """Which images make up the batch of a step: int64 (batch_size,), a pure function.

  The epochs' permutations are laid end to end and cut into batches, so that every image is seen
  once an epoch whatever the batch size; a batch may hold the end of one epoch and the start of
  the next.
  """
  places = np.arange(step * batch_size, (step + 1) * batch_size)
  epochs, offsets = np.divmod(places, count)
  rows = np.empty(batch_size, np.int64)
  for epoch in np.unique(epochs):
    inside = epochs == epoch
    rows[inside] = epoch_order(count, seed, int(epoch))[offsets[inside]]
  return rows


def prefetch(
  read: Callable[[int], np.ndarray], steps: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
  """Yields (step, read(step)) in order, reading one step ahead in a thread."""
  with ThreadPoolExecutor(max_workers=1) as pool:
    ahead = [pool.submit(read, step) for step in steps[:1]]
    for i, step in enumerate(steps):
      batch = ahead.pop().result()
      ahead += [pool.submit(read, following) for following in steps[i + 1 : i + 2]]
      yield step, batch
