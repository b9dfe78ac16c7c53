"""The only `pmap`: training state, key derivation, and the way of images over devices."""

import os
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgen import checks
from jaxgen import images as pixels
from jaxgen.datasets.order import batch_rows
from jaxgen.datasets.splits import Split
from jaxgen.errors import UserError
from jaxgen.objectives.base import (
  DEVICES,
  Example,
  Image,
  Key,
  Keys,
  Memory,
  Metrics,
  Objective,
  Params,
  accumulating,
  reducing,
)

MOST_CPU_DEVICES = 8  # that a run takes unasked
LOOK = 'binarize'  # the purpose of what decides how an image is seen, and which pixels are white
WITHOUT_CHANGE = pixels.reader()


class TrainState(NamedTuple):
  """All that training carries from step to step; equal on every device, without a device axis."""

  step: jax.Array  # int32 scalar: updates done
  params: Params
  memory: Memory
  ema: Params  # exponential moving average of params


def cpu_devices(config: ml_collections.ConfigDict, processes: int = 1) -> int:
  """Virtual devices of this CPU: config.cpu_devices, or where that is 0, one for each core.

  At most MOST_CPU_DEVICES then, and as many as the batch can be divided among; and one in each of
  several processes, which may share the cores.
  """
  if config.cpu_devices or processes > 1:
    return max(1, config.cpu_devices)
  most = min(cores(), MOST_CPU_DEVICES)
  return next(d for d in range(most, 0, -1) if d == 1 or fits(config, d))


def cores() -> int:
  """Cores that this process may run on."""
  affinity = getattr(os, 'sched_getaffinity', None)  # not on every system
  return len(affinity(0)) if affinity else os.cpu_count() or 1


def fits(config: ml_collections.ConfigDict, devices: int) -> bool:
  """Whether so many devices can share a batch."""
  try:
    checks.check_division(config, devices)
  except UserError:
    return False
  return True


def purpose_key(seed: int, purpose: str) -> Key:
  """The root key of one use of randomness ('init', 'train', 'sample', ...)."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))


def image_keys(key: Key, indices: jax.Array) -> Keys:
  """One key an image: (N,) global indices -> (N,) keys."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def initial_state(objective: Objective, seed: int) -> TrainState:
  """The state at step 0, every array of it a buffer of its own: it is donated, and freed once."""
  params, memory = objective.init(purpose_key(seed, 'init'))
  return jax.tree.map(jnp.copy, TrainState(jnp.int32(0), params, memory, params))


def on_all_devices(state: TrainState) -> TrainState:
  """A host's state, placed as `train_steps` returns it: so the update is compiled only once."""
  everywhere = NamedSharding(Mesh(np.array(jax.devices()), (DEVICES,)), PartitionSpec())
  return jax.tree.map(partial(jax.make_array_from_process_local_data, everywhere), state)


def moving_average(
  ema: Params, params: Params, decay: float, step: jax.Array, averaged: Any = True
) -> Params:
  """ema <- d ema + (1 - d) params, with d = min(decay, (1 + step) / (10 + step)).

  The ramp forgets the random initial parameters within a few steps, however short the run.
  What is not `averaged` (see `Objective`), and whole numbers, are the newest.
  """
  d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))

  def part(wanted: bool, average: Params, new: Params) -> Params:
    return jax.tree.map(partial(smooth, d), average, new) if wanted else new

  return jax.tree.map(part, averaged, ema, params)


@jax.jit  # traced once a shape
def smooth(d: jax.Array, average: jax.Array, new: jax.Array) -> jax.Array:
  """d average + (1 - d) new, or the new where it is of whole numbers."""
  return d * average + (1.0 - d) * new if jnp.issubdtype(new.dtype, jnp.inexact) else new


def train_step(
  objective: Objective,
  seed: int,
  ema_decay: float,
  reduction: str = 'mean',
  see: Callable[[jax.Array, jax.Array], Image] = WITHOUT_CHANGE,
  accumulate: int = 1,
) -> Callable[[TrainState, Example], tuple[TrainState, Metrics]]:
  """One update on one device's share of a batch: state, examples (B / D) -> state, metrics.

  Their images are uint8. Must run under an axis named DEVICES. Keys are those of the images' places
  in the global batch (place = row * D + device, see `shard`), so that the noise does not depend on
  the device count. So are those of what `see` does to an image, see `images.reader`.
  """
  root, looks = purpose_key(seed, 'train'), purpose_key(seed, LOOK)

  def step(state: TrainState, batch: Example) -> tuple[TrainState, Metrics]:
    places = jnp.arange(len(batch.row)) * jax.lax.axis_size(DEVICES) + jax.lax.axis_index(DEVICES)
    keys = image_keys(jax.random.fold_in(root, state.step), places)
    look = image_keys(jax.random.fold_in(looks, state.step), places)
    examples = batch._replace(image=jax.vmap(see)(batch.image, look))
    with reducing(reduction), accumulating(accumulate):
      params, memory, metrics = objective.update(
        state.params, state.memory, examples, keys, state.step
      )
    ema = moving_average(state.ema, params, ema_decay, state.step, objective.averaged)
    return TrainState(state.step + 1, params, memory, ema), metrics

  return step


def train_steps(
  objective: Objective,
  seed: int,
  ema_decay: float,
  reduction: str = 'mean',
  see: Callable[[jax.Array, jax.Array], Image] = WITHOUT_CHANGE,
  accumulate: int = 1,
) -> Callable[[TrainState, Example], tuple[TrainState, Metrics]]:
  """Several updates in one dispatch, over all devices of all processes.

  Several processes finish each dispatch before they begin anything else: a process on CPUs has few
  threads for collectives, and two computations that took them in different orders on different
  processes were seen to wait for each other for ever.

  Returns:
    state, examples (D, S, B / D) with uint8 images -> state after S updates, metrics each (S,).
    The state's buffers are donated.
  """
  step = train_step(objective, seed, ema_decay, reduction, see, accumulate)

  def steps(state: TrainState, batches: Example) -> tuple[TrainState, Metrics]:
    # A loop of one would still be a while loop, in which XLA compiles for size rather than speed.
    return jax.lax.scan(step, state, batches, unroll=len(batches.row) == 1)

  call = jax.pmap(steps, axis_name=DEVICES, in_axes=(None, 0), out_axes=None, donate_argnums=0)
  if jax.process_count() == 1:
    return call
  return lambda state, batches: jax.block_until_ready(call(state, batches))


def updates(
  objective: Objective, config: ml_collections.ConfigDict
) -> Callable[[TrainState, Example], tuple[TrainState, Metrics]]:
  """`train_steps` as a config describes them."""
  see = pixels.reader(config.data.binarize, config.data.flip, config.data.crop)
  rest = config.ema_decay, config.reduction, see, config.accumulate
  return train_steps(objective, config.seed, *rest)


def largest(tree: Any) -> Any:
  """The elementwise maximum of all processes' numpy arrays, once every device is done with it."""
  devices = jax.local_device_count()
  repeated = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (devices, *leaf.shape)), tree)
  return jax.device_get(jax.block_until_ready(_largest(repeated)))


_largest = jax.pmap(lambda tree: jax.lax.pmax(tree, DEVICES), axis_name=DEVICES, out_axes=None)


def shard(batches: np.ndarray, devices: int) -> np.ndarray:
  """(S, B, ...) -> (L, S, B / D, ...): image i of a batch goes to device i mod D.

  Only the L of all D devices that belong to this process get their share here.

  Dealing images out like cards keeps the k-th slice of a batch the same set of images for any
  device count, which algorithms with several critic steps rely on.
  """
  steps, size = batches.shape[:2]
  dealt = batches.reshape(steps, size // devices, devices, *batches.shape[2:])
  first = jax.process_index() * jax.local_device_count()
  return np.moveaxis(dealt, 2, 0)[first : first + jax.local_device_count()]


def examples(split: Split, rows: np.ndarray) -> Example:
  """These rows of a split: uint8 images with their labels and rows, in the shape of `rows`."""
  images = split.images[rows.ravel()].reshape(*rows.shape, *split.images.shape[1:])
  labels = np.full(rows.shape, -1) if split.labels is None else split.labels[rows]
  return Example(images, labels.astype(np.int32), rows.astype(np.int32))


def read_batches(train: Split, config: ml_collections.ConfigDict, step: int) -> Example:
  """The examples of the dispatch that begins at a step, (L, S, B / D), as `shard` deals them."""
  steps = range(step, step + config.steps_per_call)
  rows = [batch_rows(len(train.images), config.batch_size, config.seed, s) for s in steps]
  return examples(train, shard(np.stack(rows), jax.device_count()))


def map_images(
  function: Callable[..., Any], chunk: int
) -> Callable[..., Iterator[tuple[np.ndarray, ...]]]:
  """Lifts a function of one image to any number of them, over all devices, in fixed-size chunks.

  Args:
    function: (params, *example) -> pytree, for one example.
    chunk: examples a device takes at once. Every call has this shape, the last one padded, so
      that an example's result does not depend on how many others there are.

  Returns:
    (params, *arrays with one leading axis) -> iterator over results for consecutive examples,
    as numpy arrays without the padding. Memory does not grow with the number of examples.
  """

  def over_devices(params: Params, batch: tuple[Any, ...]) -> Any:
    return jax.vmap(lambda example: function(params, *example))(batch)

  call = jax.pmap(over_devices, in_axes=(None, 0), devices=jax.local_devices())

  def apply(params: Params, *arrays: np.ndarray) -> Iterator[Any]:
    devices, count = jax.local_device_count(), len(arrays[0])
    for start in range(0, count, devices * chunk):
      rows = np.minimum(np.arange(start, start + devices * chunk), count - 1)
      batch = tuple(a[rows].reshape(devices, chunk, *a.shape[1:]) for a in arrays)
      kept = min(devices * chunk, count - start)
      results = jax.device_get(call(params, batch))
      yield jax.tree.map(lambda r: r.reshape(-1, *r.shape[2:])[:kept], results)  # noqa: B023

  return apply
