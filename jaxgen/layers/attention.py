"""Attention between all places of an image, and between its channels."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.layers.convolution import Convolution

NARROWER = 8  # times, than the input, is what places compare and pass on


def places(attention: tuple[int, ...], count: int, what: str) -> set[int]:
  """Which of so many levels or layers have attention; -1 is the last.

  Raises:
    ValueError: one of them is not there; `what` names them.
  """
  if not all(-count <= number < count for number in attention):
    raise ValueError(
      f'network.attention={attention} stands behind {what} 0 to {count - 1}, or -1 for the last'
    )
  return {number % count for number in attention}


class SelfAttention(nn.Module):
  """x + gamma o, o what every place collects from all (Zhang et al. 2019, eq. 1-3).

  gamma is learned, and begins at 0: so a network begins as it would without.

  Attributes:
    dtype: of the computation; parameters are float32.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    height, width, channels = x.shape
    pixel_dense = partial(Convolution, side=1, dtype=self.dtype)
    narrow = max(1, channels // NARROWER)
    f, g, h = (pixel_dense(narrow)(x).reshape(-1, narrow) for _ in range(3))
    beta = nn.softmax((g @ f.T).astype(jnp.float32), axis=-1).astype(self.dtype)
    o = pixel_dense(channels)((beta @ h).reshape(height, width, narrow))
    gamma = self.param('gamma', nn.initializers.zeros, ())
    return x + gamma.astype(x.dtype) * o


class SqueezeAndExcitation(nn.Module):
  """Multiplies each channel by what the means of all call for, between 0 and 1 (Hu et al. 2018).

  Attributes:
    dtype: of the computation.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    features = x.shape[-1]
    h = nn.relu(nn.Dense(max(4, features // 16), dtype=self.dtype)(x.mean((0, 1))))
    return x * nn.sigmoid(nn.Dense(features, dtype=self.dtype)(h))[None, None]
