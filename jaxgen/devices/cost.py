"""What training and a sample cost: parameters, operations, network evaluations, seconds, memory."""

import ctypes
import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Var

from jaxgen.devices import flops, parallel
from jaxgen.layers.normalisation import STATISTICS
from jaxgen.objectives.base import Example, Objective, Params

# What models keep of the data beside their networks: pictures to begin with, moments, errors.
KEPT = 'conditions', 'codes', 'errors'


def parameters(params: Params) -> int:
  """How many numbers training adjusts: weights, and not what is KEPT of the data."""
  found = 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    names = [getattr(part, 'key', '') for part in path]
    kept = STATISTICS in names or (names[:1] and names[0] in KEPT)
    found += 0 if kept else int(np.size(leaf))
  return found


def training_flops(
  update: Callable[..., Any], state: parallel.TrainState, batches: Example
) -> float:
  """Floating-point operations of training, for each image; see `flops.count`.

  Args:
    update: of `parallel.train_steps`; traced here, it need not be traced again to run.
    state: what it updates, or the shapes of that.
    batches: the examples of one dispatch, (D, S, B / D), or their shapes.
  """
  _, steps, share = batches.row.shape
  return flops.count(update, state, batches) / (steps * share)  # those of one device, as all do


def matrix_product_ceiling(dtype: str = 'float32') -> float:
  """Floating-point operations per second of a large matrix product, here and now, on all devices.

  Virtual devices share one machine, so they count once. All processes measure at once.
  """
  devices = jax.local_devices()
  on_cpu = devices[0].platform == 'cpu'
  side = 1024 if on_cpu else 8192
  matrix = jnp.ones((side, side), dtype)
  seconds = []
  for _ in range(6):  # the first may compile
    began = time.perf_counter()
    _square(matrix).block_until_ready()
    seconds.append(time.perf_counter() - began)
  return 2.0 * side**3 / min(seconds) * (1 if on_cpu else len(devices)) * jax.process_count()


_square = jax.jit(lambda matrix: matrix @ matrix)


def peak_memory() -> int:
  """The most bytes held so far, by an accelerator where there is one, else by this process."""
  peaks = [(device.memory_stats() or {}).get('peak_bytes_in_use') for device in jax.local_devices()]
  on_host = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return max((peak for peak in peaks if peak), default=on_host)


def give_back() -> None:
  """Returns to the system what this process has freed: compiling leaves some 600 MB of it.

  Where the C library keeps freed memory until it is told otherwise, as glibc does.
  """
  trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
  if trim:
    trim(0)


def network_evaluations(objective: Objective, params: Params) -> int | None:
  """How often drawing one sample passes through the network; None where the sample decides.

  Read off the traced computation, and so right for any objective: how often it uses the largest
  parameter that it uses at all, each turn of a loop counted; where only some are averaged, the
  largest of these, as others may be of a network that is not trained. Where the computation
  branches, the branch with the most counts. A `while` loop's turns are not known before it runs.
  """
  closed = jax.make_jaxpr(objective.sample)(params, jnp.int32(0), jax.random.key(0))
  marked = jax.tree.map(
    lambda wanted, part: jax.tree.map(lambda _: wanted, part), objective.averaged, params
  )
  wanted = jax.tree.leaves(marked)
  kept = [v for v, w in zip(closed.jaxpr.invars, wanted, strict=False) if w or not any(wanted)]
  leaves = sorted(kept, key=lambda v: -int(np.prod(v.aval.shape)))
  found = next((n for n in (_uses(closed.jaxpr, leaf) for leaf in leaves) if n), 0)
  return None if math.isinf(found) else int(found)


def _uses(jaxpr: Jaxpr, variable: Var) -> float:
  """How many operations of a computation take this variable: infinitely many in `while` loops."""
  total = 0.0
  for equation in jaxpr.eqns:
    # The operands of a loop's or a call's body are those of the equation, aligned at the end.
    size = len(equation.invars)
    places = [i - size for i, operand in enumerate(equation.invars) if operand is variable]
    if not places:
      continue
    if equation.primitive.name == 'while':
      return math.inf
    inner = [i for value in equation.params.values() for i in flops.bodies(value)]
    inner = [body for body in inner if len(body.invars) >= -min(places)]  # a scatter's takes fewer
    found = max((_uses(body, body.invars[i]) for body in inner for i in places), default=0.0)
    total += equation.params.get('length', 1) * found if inner else 1
  return total


class Stopwatch:
  """Adds up the time that an iterator takes, and not that of its consumer."""

  def __init__(self) -> None:
    self.seconds = 0.0

  def time(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same chunks."""
    chunks = iter(chunks)
    while True:
      began = time.perf_counter()
      chunk = next(chunks, None)
      self.seconds += time.perf_counter() - began
      if chunk is None:
        return
      yield chunk


class Speed:
  """How fast training goes, and what share of the machine's matrix products that is.

  Attributes:
    flops: of training on one image, in matrix products; 0 of a model that has none.
    ceiling: the most floating-point operations a second that this machine was seen to do.
  """

  def __init__(self, batch_size: int, dtype: str) -> None:
    self.batch_size, self.dtype = batch_size, dtype
    self.flops = self.ceiling = 0.0
    self.begin(0)

  def begin(self, step: int) -> None:
    """Starts the clock after this step."""
    self.step, self.then = step, time.monotonic()

  def pause(self, seconds: float) -> None:
    """Takes time off that was not spent in updates."""
    self.then += seconds

  def look(self) -> None:
    """Measures the ceiling once more: a busy moment shows one that is too low."""
    if self.flops:
      self.ceiling = max(self.ceiling, matrix_product_ceiling(self.dtype))

  def until(self, step: int) -> dict[str, float]:
    """Images a second since the clock was started, and their share of the ceiling; starts it anew.

    Nothing where no step was timed, and no share of a model without matrix products.
    """
    steps, seconds = step - self.step, max(time.monotonic() - self.then, 1e-9)
    found = {'images_per_second': steps * self.batch_size / seconds} if steps else {}
    if steps and self.flops:
      done = found['images_per_second'] * self.flops
      if not self.ceiling:
        self.look()
      self.ceiling = max(self.ceiling, done)
      found['model_flops_utilization'] = done / self.ceiling
    self.begin(step)
    return found
