"""Residual encoder and decoder of R3GAN, without any normalisation (Huang et al. 2024, sec. 3).

A stage is a few residual blocks at one resolution. Between stages images are interpolated linearly,
and at the coarsest a learned image for each channel stands between it and a vector. Every branch
starts at zero, and its other layers smaller, the more branches there are (Zhang et al. 2019), so
that a deep network starts as a shallow one. A bias stands before each activation, nowhere else.

The paper's blocks double their channels and divide them into groups of 16, which `expansion` and
`groups` allow. By default they do neither: small images need few channels.
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


def interpolation(size: int, aligned: bool = False) -> np.ndarray:
  """Linear interpolation along an axis, (2 size, size), with zeros beyond its ends.

  A new pixel lies a quarter of an old one's width beside its centre: put zeros between the pixels
  of the old, and [1, 3, 3, 1] / 4 over them.

  Args:
    size: of the axis.
    aligned: every other new pixel lies on an old one, and the last, which has no second neighbour,
      repeats the one it has.
  """
  places = np.arange(2 * size) / 2 - (0.0 if aligned else 0.25)
  matrix = np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(size)))
  if aligned:
    matrix[-1, -1] = 1.0
  return matrix


def upsample(x: jax.Array, aligned: bool = False) -> jax.Array:
  """(H, W, C) -> (2 H, 2 W, C)."""
  return resample(x, *(interpolation(size, aligned) for size in x.shape[:2]))


def downsample(x: jax.Array, aligned: bool = False) -> jax.Array:
  """(H, W, C) -> (H / 2, W / 2, C): upsampling transposed, whose sums become means."""
  matrices = (interpolation(size // 2, aligned).T for size in x.shape[:2])
  return resample(x, *(m / (m.sum(axis=1, keepdims=True) if aligned else 2.0) for m in matrices))


def resample(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
  """(H, W, C) -> (I, J, C), by matrices (I, H) and (J, W)."""
  return jnp.einsum('ih,jw,hwc->ijc', rows.astype(x.dtype), columns.astype(x.dtype), x)


class ResidualBlock(nn.Module):
  """x + conv1x1(act(conv3x3(act(conv1x1(x))))).

  Attributes:
    branches: of the whole network.
    activation: between the layers.
    dtype: of the computation.
    expansion: channels within for each of x.
    groups: of channels, of the 3x3 convolution.
    use_bias: also after the last layer.
  """

  branches: int
  activation: Callable[[jax.Array], jax.Array] = leaky_relu
  dtype: Any = jnp.float32
  expansion: int = 1
  groups: int = 1
  use_bias: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    # L^{-1 / (2 m - 2)} for the m - 1 = 2 layers before the last, of L branches.
    init = nn.initializers.variance_scaling(GAIN / math.sqrt(self.branches), 'fan_in', 'normal')
    layer, channels = partial(Convolution, dtype=self.dtype), x.shape[-1]
    wide = self.expansion * channels
    h = self.activation(layer(wide, side=1, kernel_init=init)(x))
    h = self.activation(layer(wide, kernel_init=init, groups=self.groups)(h))
    return x + layer(channels, side=1, kernel_init=zeros, use_bias=self.use_bias)(h)


def residual_blocks(network: Any, x: jax.Array) -> jax.Array:
  """(H, W, C) -> (H, W, C): a stage of an `Encoder` or a `Decoder`."""
  branches = network.blocks * len(network.hidden)
  fields = network.activation, network.dtype, network.expansion, network.groups, network.bias
  for _ in range(network.blocks):
    x = ResidualBlock(branches, *fields)(x)
  return x


class Encoder(nn.Module):
  """Image -> vector.

  Attributes:
    features: length of the output.
    hidden: channels of the stages, first to last; every stage but the first halves the image.
    blocks: residual blocks a stage.
    activation: within the blocks.
    dtype: of the computation; parameters and output are float32.
    expansion: channels within a block for each of its stage.
    groups: that channels are divided into in the 3x3 convolutions.
    bias: also in layers that no activation follows, and a 1x1 convolution also between stages of
      as many channels; as networks had before they were the paper's.
    aligned: that images are resampled from pixel to pixel, as they were then.
  """

  features: int
  hidden: tuple[int, ...]
  blocks: int = 1
  activation: Callable[[jax.Array], jax.Array] = leaky_relu
  dtype: Any = jnp.float32
  expansion: int = 1
  groups: int = 1
  bias: bool = False
  aligned: bool = False

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """(H, W, C) -> (features,)."""
    check_halvings(image.shape, len(self.hidden) - 1)
    linear = {'kernel_init': linear_init, 'dtype': self.dtype, 'use_bias': self.bias}
    x = image
    for stage, channels in enumerate(self.hidden):
      x = downsample(x, self.aligned) if stage else x
      if not stage or self.bias or channels != x.shape[-1]:
        x = Convolution(channels, side=1, **linear)(x)
      x = residual_blocks(self, x)
    basis = self.param('basis', nn.initializers.normal(1.0 / math.sqrt(x[..., 0].size)), x.shape)
    x = jnp.sum(x * basis.astype(x.dtype), axis=(0, 1))
    return nn.Dense(self.features, **linear)(x).astype(jnp.float32)


class Decoder(nn.Module):
  """Vector -> image, without bounds.

  Attributes:
    image_shape: (H, W, C) of the output.
    hidden: channels of the ENCODER's stages; the decoder is its mirror image.
    blocks: residual blocks a stage.
    activation: within the blocks.
    dtype: of the computation; parameters and output are float32.
    expansion: channels within a block for each of its stage.
    groups: that channels are divided into in the 3x3 convolutions.
    bias: also in layers that no activation follows, and a 1x1 convolution also between stages of
      as many channels; as networks had before they were the paper's.
    aligned: that images are resampled from pixel to pixel, as they were then.
  """

  image_shape: tuple[int, int, int]
  hidden: tuple[int, ...]
  blocks: int = 1
  activation: Callable[[jax.Array], jax.Array] = leaky_relu
  dtype: Any = jnp.float32
  expansion: int = 1
  groups: int = 1
  bias: bool = False
  aligned: bool = False

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    """(latent,) -> (H, W, C)."""
    height, width, colours = self.image_shape
    halvings = len(self.hidden) - 1
    check_halvings(self.image_shape, halvings)
    linear = {'kernel_init': linear_init, 'dtype': self.dtype, 'use_bias': self.bias}
    smallest = (height >> halvings, width >> halvings, self.hidden[-1])
    basis = self.param('basis', nn.initializers.normal(1.0), smallest)
    x = nn.Dense(self.hidden[-1], **linear)(z)
    x = x[None, None] * basis.astype(x.dtype)
    for stage, channels in enumerate(reversed(self.hidden)):
      if stage and (self.bias or channels != x.shape[-1]):
        x = Convolution(channels, side=1, **linear)(x)
      x = residual_blocks(self, upsample(x, self.aligned) if stage else x)
    return Convolution(colours, side=1, **linear)(x).astype(jnp.float32)
