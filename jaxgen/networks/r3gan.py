"""Residual encoder and decoder of R3GAN, without any normalisation (Huang et al. 2024, sec. 3).

A stage is a few residual blocks at one resolution. Between stages images are resampled by the
filter [1, 2, 1], and at the coarsest a learned image for each channel stands between it and a
vector. Every branch starts at zero, and its other layers smaller, the more branches there are
(Zhang et al. 2019), so that a deep network starts as a shallow one.

The paper's 3x3 convolutions work on groups of 16 channels, which `groups` allows. By default they
are dense: at the widths that small images need there are few groups.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.layers.convolution import Convolution
from jaxgen.networks.convolutional import check_halvings

GAIN = 2.0 / (1.0 + 0.2**2)  # what the activation leaves of a variance, inverted
leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)
zeros = nn.initializers.zeros
linear_init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal')


def interpolation(size: int) -> np.ndarray:
  """Linear interpolation along an axis, (2 size, size): zeros put between, and [1, 2, 1] / 2.

  The last pixel, which has no second neighbour, repeats the one it has.
  """
  matrix = np.zeros((2 * size, size), np.float32)
  for place in range(size):
    matrix[2 * place, place] = 1.0
    matrix[2 * place + 1, [place, min(place + 1, size - 1)]] += 0.5
  matrix[-1, -1] = 1.0
  return matrix


def upsample(x: jax.Array) -> jax.Array:
  """(H, W, C) -> (2 H, 2 W, C)."""
  rows, columns = (interpolation(size) for size in x.shape[:2])
  return jnp.einsum('ih,jw,hwc->ijc', rows.astype(x.dtype), columns.astype(x.dtype), x)


def downsample(x: jax.Array) -> jax.Array:
  """(H, W, C) -> (H / 2, W / 2, C): [1, 2, 1] / 4 at every other pixel, upsampling transposed.

  Each output is a mean of what it sees, at the edges too.
  """
  rows, columns = (interpolation(size // 2).T for size in x.shape[:2])
  rows, columns = (m / m.sum(axis=1, keepdims=True) for m in (rows, columns))
  return jnp.einsum('ih,jw,hwc->ijc', rows.astype(x.dtype), columns.astype(x.dtype), x)


class ResidualBlock(nn.Module):
  """x + conv1x1(act(conv3x3(act(conv1x1(x))))).

  Attributes:
    branches: of the whole network.
    activation: between the layers.
    dtype: of the computation.
    groups: of channels, of the 3x3 convolution.
  """

  branches: int
  activation: Callable[[jax.Array], jax.Array] = leaky_relu
  dtype: Any = jnp.float32
  groups: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    # L^{-1 / (2 m - 2)} for the m - 1 = 2 layers before the last, of L branches.
    init = nn.initializers.variance_scaling(GAIN / math.sqrt(self.branches), 'fan_in', 'normal')
    channels = x.shape[-1]
    h = Convolution(channels, side=1, kernel_init=init, dtype=self.dtype)(x)
    h = self.activation(h)
    h = Convolution(channels, kernel_init=init, dtype=self.dtype, groups=self.groups)(h)
    h = self.activation(h)
    return x + Convolution(channels, side=1, kernel_init=zeros, dtype=self.dtype)(h)


class Encoder(nn.Module):
  """Image -> vector.

  Attributes:
    features: length of the output.
    hidden: channels of the stages, first to last; every stage but the first halves the image.
    blocks: residual blocks a stage.
    activation: within the blocks.
    dtype: of the computation; parameters and output are float32.
    groups: that channels are divided into in the 3x3 convolutions.
  """

  features: int
  hidden: tuple[int, ...]
  blocks: int = 1
  activation: Callable[[jax.Array], jax.Array] = leaky_relu
  dtype: Any = jnp.float32
  groups: int = 1

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """(H, W, C) -> (features,)."""
    check_halvings(image.shape, len(self.hidden) - 1)
    branches = self.blocks * len(self.hidden)
    pixel_dense = partial(Convolution, side=1, kernel_init=linear_init, dtype=self.dtype)
    x = image
    for stage, channels in enumerate(self.hidden):
      x = pixel_dense(channels)(downsample(x) if stage else x)
      for _ in range(self.blocks):
        x = ResidualBlock(branches, self.activation, self.dtype, self.groups)(x)
    basis = self.param('basis', nn.initializers.normal(1.0 / math.sqrt(x[..., 0].size)), x.shape)
    x = jnp.sum(x * basis.astype(x.dtype), axis=(0, 1))
    head = nn.Dense(self.features, kernel_init=linear_init, dtype=self.dtype)
    return head(x).astype(jnp.float32)


class Decoder(nn.Module):
  """Vector -> image, without bounds.

  Attributes:
    image_shape: (H, W, C) of the output.
    hidden: channels of the ENCODER's stages; the decoder is its mirror image.
    blocks: residual blocks a stage.
    activation: within the blocks.
    dtype: of the computation; parameters and output are float32.
    groups: that channels are divided into in the 3x3 convolutions.
  """

  image_shape: tuple[int, int, int]
  hidden: tuple[int, ...]
  blocks: int = 1
  activation: Callable[[jax.Array], jax.Array] = leaky_relu
  dtype: Any = jnp.float32
  groups: int = 1

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    """(latent,) -> (H, W, C)."""
    height, width, colours = self.image_shape
    halvings, branches = len(self.hidden) - 1, self.blocks * len(self.hidden)
    check_halvings(self.image_shape, halvings)
    pixel_dense = partial(Convolution, side=1, kernel_init=linear_init, dtype=self.dtype)
    smallest = (height >> halvings, width >> halvings, self.hidden[-1])
    basis = self.param('basis', nn.initializers.normal(1.0), smallest)
    x = nn.Dense(self.hidden[-1], kernel_init=linear_init, dtype=self.dtype)(z)
    x = x[None, None] * basis.astype(x.dtype)
    for stage, channels in enumerate(reversed(self.hidden)):
      if stage:
        x = pixel_dense(channels)(upsample(x))
      for _ in range(self.blocks):
        x = ResidualBlock(branches, self.activation, self.dtype, self.groups)(x)
    return pixel_dense(colours)(x).astype(jnp.float32)
