"""Pixels on a few evenly spaced levels of grey, from -1 to 1, and what is said of their images.

With fewer levels than the 256 of a file, images are rounded to the nearest, as in Kingma & Dhariwal
2018, and numbers say so in their names.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jaxgen.objectives.base import Metrics


class Levels(NamedTuple):
  """Of a pixel.

  Attributes:
    count: how many there are.
    binarize: as in config.data.binarize.
  """

  count: int
  binarize: str = 'none'

  def index(self, x: jax.Array) -> jax.Array:
    """The nearest level of x in [-1, 1], as int32 from 0 on; any shape."""
    return jnp.round((x + 1.0) * (0.5 * (self.count - 1))).astype(jnp.int32)

  def grey(self, index: jax.Array) -> jax.Array:
    """The level itself, in [-1, 1]."""
    return index * (2.0 / (self.count - 1)) - 1.0

  def held_out(self, log_probability: jax.Array, dimension: int, prefix: str = '') -> Metrics:
    """An image's log probability in nats, or a bound on it, under a name that says what it is.

    Black and white pixels have nats, as in papers that binarise; others bits per dimension.

    Args:
      log_probability: in nats.
      dimension: how many numbers an image has.
      prefix: of the name.
    """
    if self.binarize != 'none':
      return {f'{prefix}log_probability_{self.binarize}_bernoulli_nats': log_probability}
    of = '' if self.count == 256 else f'_of_{self.count}_levels'
    bits = -log_probability / (dimension * math.log(2.0))
    return {f'{prefix}bits_per_dimension{of}': bits}


def find_levels(count: int, binarize: str) -> Levels:
  """The levels that `objective.levels` counts.

  Raises:
    ValueError: there are too few or too many, or black and white pixels are to have more than two.
  """
  if not 2 <= count <= 256:
    raise ValueError(f'objective.levels={count} must be from 2 to 256')
  if binarize != 'none' and count != 2:
    raise ValueError(
      f'objective.levels={count}, and data.binarize={binarize} leaves two: set objective.levels=2'
    )
  return Levels(count, binarize)


def log_categorical(index: jax.Array, logits: jax.Array) -> jax.Array:
  """log of the probability of these indices, (...), from logits (..., K), summed, in nats."""
  chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), index[..., None], axis=-1)
  return jnp.sum(chosen)


def over_classes(
  log_probabilities: jax.Array, class_counts: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
  """log p(x) = log sum_y p(y) p(x | y), where classes come as often as in training.

  Args:
    log_probabilities: log p(x | y) of every class, (K,), in nats.
    class_counts: training images of each.

  Returns:
    log p(x), and log p(y | x) of every class.
  """
  counts = jnp.array(class_counts, jnp.float32)
  joint = log_probabilities + jnp.log(counts / counts.sum())
  evidence = logsumexp(joint)
  return evidence, joint - evidence
