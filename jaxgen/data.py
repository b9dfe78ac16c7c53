"""Named datasets as uint8 images, and batches as a pure function of (seed, step)."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, Protocol

import ml_collections
import numpy as np

from jaxgen.errors import UserError


class Images(Protocol):
  """uint8 (N, H, W, C), read by index: a numpy array, or anything that reads on demand."""

  shape: tuple[int, ...]

  def __len__(self) -> int: ...

  def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


class Split(NamedTuple):
  """Some images of a dataset and, where it has any, their labels as int64 (N,)."""

  images: Images
  labels: np.ndarray | None = None

  def take(self, rows: np.ndarray) -> 'Split':
    """The images of these rows, still unread where images are read on demand."""
    images = self.images
    chosen = images[rows] if isinstance(images, np.ndarray) else Rows(images, rows)
    return Split(chosen, None if self.labels is None else self.labels[rows])


class Rows:
  """Some rows of images that are read on demand."""

  def __init__(self, images: Images, rows: np.ndarray) -> None:
    self.images, self.rows = images, rows
    self.shape = (len(rows), *images.shape[1:])

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    return self.images[self.rows[rows]]


class Dataset(NamedTuple):
  """Three disjoint splits of one dataset."""

  train: Split
  validation: Split
  test: Split

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of every image."""
    return tuple(self.train.images.shape[1:])


def load(config: ml_collections.ConfigDict) -> Dataset:
  """The dataset that a config's `data` section names.

  Raises:
    UserError: unknown or unprepared dataset, unreadable files, or too few images.
  """
  from jaxgen import sources  # tensorflow-datasets and image libraries, only where data are read

  source = {'digits': sources.digits, 'folder': sources.folder}.get(config.name, sources.tfds)
  return source(config)


def hold_out(split: Split, *fractions: float) -> tuple[Split, ...]:
  """Splits off fractions in a fixed random order: (the rest, then one split for each fraction).

  Raises:
    UserError: a split would be empty.
  """
  count = len(split.images)
  sizes = [round(fraction * count) for fraction in fractions]
  if min(sizes) < 1 or sum(sizes) >= count:
    raise UserError(
      f'cannot hold out {" and ".join(map(str, fractions))} of {count} images: change '
      '--config.data.validation_fraction and test_fraction, or bring more images'
    )
  order = np.random.default_rng(0).permutation(count)
  bounds = np.cumsum((count - sum(sizes), *sizes))
  return tuple(split.take(np.sort(rows)) for rows in np.split(order, bounds[:-1]))


def subset(count: int, size: int) -> np.ndarray:
  """Which of `count` images stand for all where fewer are wanted: sorted, the same every time.

  The first ones would not do: files are sorted by class. A larger subset holds the smaller ones.
  """
  return np.sort(np.random.default_rng(0).permutation(count)[:size])


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
