"""What a generative model is here: four functions, and the one verb that trains it."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.errors import UserError, find_module

Key = jax.Array  # a typed PRNG key
Keys = jax.Array  # (N,) typed PRNG keys, one an image
Image = jax.Array  # (H, W, C) float32 in [-1, 1]
Images = jax.Array  # (N, H, W, C) float32 in [-1, 1]
Params = Any  # a pytree of float32 arrays
OptState = Any  # optax's state for these parameters
Metrics = dict[str, jax.Array]  # scalars by name, units in the names

AXIS = 'devices'  # the name of the mapped axis over devices


class Objective(NamedTuple):
  """A generative model, written for one image.

  Attributes:
    init: key -> params, opt_state.
    update: params, opt_state, images (N, H, W, C), keys (N,) -> params, opt_state, metrics: one
      iteration of the paper's algorithm, which consumes the whole batch. Runs once on every device,
      on this device's share of the batch.
    evaluate: params, image, key -> metrics of one held-out image; their mean is reported.
    sample: params, key -> image.
    figures: name -> (params, images (N, H, W, C), key) -> pictures (rows, columns, H, W, C): what
      else of this model is worth looking at in TensorBoard.
    averaged: which of the params the moving average smooths, True or False for each part of a
      prefix of their tree; the others are taken as they are.
  """

  init: Callable[[Key], tuple[Params, OptState]]
  update: Callable[[Params, OptState, Images, Keys], tuple[Params, OptState, Metrics]]
  evaluate: Callable[[Params, Image, Key], Metrics]
  sample: Callable[[Params, Key], Image]
  figures: Mapping[str, Callable[[Params, Images, Key], jax.Array]] = MappingProxyType({})
  averaged: Any = True


def descend(
  loss: Callable[..., tuple[jax.Array, Metrics]],
  optimizer: optax.GradientTransformation,
  params: Params,
  opt_state: OptState,
  *batch: jax.Array,
) -> tuple[Params, OptState, Metrics]:
  """One step of stochastic gradient descent on the mean of `loss` over the whole batch.

  Args:
    loss: (params, *example) -> scalar, metrics; for ONE example of the batch.
    optimizer: the optax chain that turns gradients into updates.
    params: what `loss` is differentiated in.
    opt_state: the optimizer's state.
    *batch: arrays whose leading axis is this device's share of the batch.

  Returns:
    New params and opt_state, equal on every device, and the means of the loss's metrics with
    `loss`, `gradient_norm` and `parameter_norm` (Euclidean, of the updated parameters).
  """

  def mean_loss(params: Params, *examples: jax.Array) -> tuple[jax.Array, Metrics]:
    losses, metrics = jax.vmap(loss, in_axes=(None, *(0 for _ in examples)))(params, *examples)
    return losses.mean(), jax.tree.map(jnp.mean, metrics | {'loss': losses})

  gradient_of = partial(jax.grad(mean_loss, has_aux=True), params)
  gradient, metrics = REDUCTIONS[reducing.value](gradient_of, batch)
  updates, opt_state = optimizer.update(gradient, opt_state, params)
  params = optax.apply_updates(params, updates)
  norms = {
    'gradient_norm': optax.tree.norm(gradient),
    'parameter_norm': optax.tree.norm(params),
  }
  return params, opt_state, metrics | norms


def average(function: Callable[..., Any], *batch: jax.Array) -> Any:
  """The mean of a function of ONE example over the whole batch, on all devices.

  For algorithms that do not `descend`: it averages as the run does, in order where that is asked.

  Args:
    function: *example -> a pytree of arrays.
    *batch: arrays whose leading axis is this device's share of the batch.

  Returns:
    The means, equal on every device.
  """

  def mean(*examples: jax.Array) -> Any:
    return jax.tree.map(lambda values: values.mean(axis=0), jax.vmap(function)(*examples))

  return REDUCTIONS[reducing.value](mean, batch)


def mean_reduction(mean_of: Callable[..., Any], batch: tuple[jax.Array, ...]) -> Any:
  """The mean over devices of each device's mean: fast; equal for any device count to rounding."""
  found = mean_of(*batch)
  return found if jax.lax.axis_size(AXIS) == 1 else jax.lax.pmean(found, AXIS)


def ordered_reduction(mean_of: Callable[..., Any], batch: tuple[jax.Array, ...]) -> Any:
  """The mean over BLOCKS fixed blocks of the batch, summed in one order on any number of devices.

  The bits are the same on 1, 2, 4 and 8 devices. Block b holds the images whose place in the
  global batch is b modulo BLOCKS. The loop over blocks keeps XLA from fusing them into differently
  rounded sums.
  """
  devices = jax.lax.axis_size(AXIS)
  blocks = BLOCKS // devices  # on this device: block k * devices + device
  cut = tuple(jnp.swapaxes(a.reshape(-1, blocks, *a.shape[1:]), 0, 1) for a in batch)
  _, here = jax.lax.scan(lambda _, block: (None, mean_of(*block)), None, cut)
  there = jax.lax.all_gather(here, AXIS, axis=1)  # (blocks, devices, ...), in block order
  total, _ = jax.lax.scan(
    lambda total, block: (jax.tree.map(jnp.add, total, block), None),
    jax.tree.map(lambda g: jnp.zeros_like(g[0, 0]), there),
    jax.tree.map(lambda g: g.reshape(BLOCKS, *g.shape[2:]), there),
  )
  return jax.tree.map(lambda g: g / BLOCKS, total)


BLOCKS = 16  # two or more on each of up to 8 devices, as XLA unrolls a loop of one
REDUCTIONS = {'mean': mean_reduction, 'ordered': ordered_reduction}
# While a step is traced: how the batch is averaged over. A property of the run, which no objective
# needs to know, and of the keys under which JAX keeps what it has traced.
reducing = jax.make_user_context('mean')


def prefix(name: str, metrics: Metrics) -> Metrics:
  """Puts `name/` before every metric, for objectives that descend on several losses."""
  return {f'{name}/{key}': value for key, value in metrics.items()}


# How Python says that a config's fields are not the arguments of what it configures.
MISFIT = re.compile(r'unexpected keyword argument|missing \d+ required|multiple values for')


def of_the_config(error: Exception) -> bool:
  """Whether it is a value that was refused, a field too many, or one that the config lacks."""
  if isinstance(error, AttributeError | KeyError):
    trace = error.__traceback__
    while trace.tb_next:
      trace = trace.tb_next
    return 'ml_collections' in trace.tb_frame.f_code.co_filename
  return isinstance(error, ValueError) or bool(MISFIT.search(str(error)))


def build(config: ml_collections.ConfigDict, image_shape: tuple[int, int, int]) -> Objective:
  """The objective that the config names, for images of this (H, W, C).

  Raises:
    UserError: no such objective, or its hyperparameters do not fit it, the network or the images.
  """
  module = find_module('jaxgen.objectives', config.objective.name, 'build')
  try:
    objective = module.build(config, image_shape)
    jax.eval_shape(objective.init, jax.random.key(0))  # the network's own checks, in milliseconds
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    if not of_the_config(error):
      raise  # a fault of the program, which its author wants to see whole
    raise UserError(
      f'objective {config.objective.name!r} cannot be built for images of shape {image_shape}: '
      f'{error}'
    ) from error
  return objective


def arguments(section: ml_collections.ConfigDict) -> dict[str, Any]:
  """A config section as keyword arguments: all its fields but the name that chose the callee."""
  return {field: value for field, value in section.items() if field != 'name'}
