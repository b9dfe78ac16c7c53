"""Fully connected networks (Kingma & Welling 2013, app. C; Goodfellow et al. 2014)."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.layers.embedding import timestep_embedding
from jaxgen.networks import require_layers

zeros = nn.initializers.zeros
TIME_FEATURES = 128  # sines and cosines of a denoiser's time


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


class Denoiser(nn.Module):
  """Noisy numbers and their time -> numbers: a residual block for each of `hidden`.

  A block is x + V swish(W norm(x)), the norm scaled and shifted by the time, and starts as x; the
  output starts at 0. Numbers of any shape are taken as a vector.

  Attributes:
    hidden: widths inside the blocks, first to last; between them it is the first one.
    output_channels: last axis of the output, 0 for that of the input.
    classes: how many labels there are, 0 for a network that is told none.
    dropout: share of features left out in training.
    dtype: of the computation; parameters, normalisation and output are float32.
  """

  hidden: tuple[int, ...]
  output_channels: int = 0
  classes: int = 0
  dropout: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    t: jax.Array,
    label: jax.Array | None = None,
    training: bool = False,
  ) -> jax.Array:
    """x (..., C), t () in steps of the order of 1 ... 1000 -> (..., output_channels or C).

    Args:
      x: the noisy numbers.
      t: their time.
      label: () int32, their class, -1 where that is unknown; only where there are classes.
      training: whether features are left out, which takes an rng `dropout`.
    """
    require_layers(self.hidden)
    width = self.hidden[0]
    told = nn.Dense(width, dtype=self.dtype)(timestep_embedding(t, TIME_FEATURES))
    if self.classes:
      known = jnp.where(label < 0, self.classes, label)  # the last row is for no label
      told = told + nn.Embed(self.classes + 1, width, dtype=self.dtype)(known)
    told = nn.swish(told)
    h = nn.Dense(width, dtype=self.dtype)(x.ravel())
    for inner in self.hidden:
      scale, shift = jnp.split(nn.Dense(2 * width, dtype=self.dtype)(told), 2)
      seen = nn.LayerNorm(use_bias=False, use_scale=False)(h) * (1.0 + scale) + shift
      seen = nn.swish(nn.Dense(inner, dtype=self.dtype)(seen))
      seen = nn.Dropout(self.dropout, deterministic=not training)(seen)
      h = h + nn.Dense(width, kernel_init=zeros, dtype=self.dtype)(seen)
    shape = (*x.shape[:-1], self.output_channels or x.shape[-1])
    h = nn.LayerNorm()(h).astype(jnp.float32)
    return nn.Dense(math.prod(shape), kernel_init=zeros)(h).reshape(shape)
