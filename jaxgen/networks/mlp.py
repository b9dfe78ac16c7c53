"""Fully connected encoder and decoder (Kingma & Welling 2013, app. C; Goodfellow et al. 2014)."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Encoder(nn.Module):
  """Image -> vector: linear layers of widths `hidden`, then one to `features`.

  Attributes:
    features: length of the output.
    hidden: widths of the hidden layers, first to last.
    activation: after every hidden layer.
    dtype: of the computation; parameters and output are float32.
  """

  features: int
  hidden: tuple[int, ...]
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """(H, W, C) -> (features,)."""
    x = image.ravel()
    for width in self.hidden:
      x = self.activation(nn.Dense(width, dtype=self.dtype)(x))
    return nn.Dense(self.features, dtype=self.dtype)(x).astype(jnp.float32)


class Decoder(nn.Module):
  """Vector -> image: linear layers of widths `hidden`, then one to the pixels, without bounds.

  Attributes:
    image_shape: (H, W, C) of the output.
    hidden: widths of the ENCODER's hidden layers; the decoder is its mirror image.
    activation: after every hidden layer.
    dtype: of the computation; parameters and output are float32.
  """

  image_shape: tuple[int, int, int]
  hidden: tuple[int, ...]
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    """(latent,) -> (H, W, C)."""
    x = z
    for width in reversed(self.hidden):
      x = self.activation(nn.Dense(width, dtype=self.dtype)(x))
    x = nn.Dense(math.prod(self.image_shape), dtype=self.dtype)(x)
    return x.astype(jnp.float32).reshape(self.image_shape)
