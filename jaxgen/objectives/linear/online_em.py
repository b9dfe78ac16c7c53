"""Expectation-maximisation in batches, of models with sufficient statistics.

One update takes the statistics of its batch (E), mixes them into those of the batches before (Cappé
& Moulines 2009, eq. 13) and maximises the likelihood that they belong to (M). With all images in a
batch and no memory it is EM itself (Dempster et al. 1977).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxgen.objectives import base
from jaxgen.objectives.base import Example, Keys, Memory, Metrics, Params

Statistics = Callable[[Params, jax.Array], tuple[Memory, jax.Array]]


def nothing_seen(statistics: Statistics, params: Params, x: jax.Array) -> Memory:
  """The statistics of no image, all 0."""
  shapes, _ = jax.eval_shape(statistics, params, x)
  return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def online_em(
  first_guess: Callable[[Params, jax.Array], Params],
  statistics: Statistics,
  maximise: Callable[[Memory], Params],
  forgetting: float,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """The `update` of a model, and the log-density of the batch under what it was before.

  Args:
    first_guess: params, images (N, d) of this device -> params before the first update.
    statistics: params, an image (d,) -> its sufficient statistics, and log p(x) in nats.
    maximise: statistics -> the params of the largest likelihood.
    forgetting: the power a of the step size (t + 1)^-a by which the batch of update t replaces what
      was seen before.
    params: of the model.
    memory: statistics that have been seen.
    examples: of this device.
    keys: one an example, which are not needed.
    step: t, from 0 on.
  """
  del keys
  images = examples.image.reshape(len(examples.image), -1)
  params = jax.tree.map(
    lambda guessed, known: jnp.where(step == 0, guessed, known), first_guess(params, images), params
  )
  seen, log_density = base.average(partial(statistics, params), images)
  size = (step + 1.0) ** -forgetting
  memory = jax.tree.map(lambda old, new: old + size * (new - old), memory, seen)
  return maximise(memory), memory, {'log_density_nats': log_density}
