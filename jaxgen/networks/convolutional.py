"""Convolutional encoder and decoder after DCGAN's guidelines (Radford et al. 2016, sec. 3).

Strided convolutions instead of pooling, transposed ones for upsampling, no hidden linear layer.
Where DCGAN normalises over the batch, layers here normalise over the image or not at all, so that
a network stays a function of one example and a gradient penalty stays well defined
(Gulrajani et al. 2017, sec. 4). `dcgan` is the original.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.layers.attention import SelfAttention, places
from jaxgen.layers.convolution import (
  Convolution,
  Initializer,
  StridedConvolution,
  TransposedConvolution,
)
from jaxgen.networks import require_layers


def check_halvings(image_shape: tuple[int, ...], times: int) -> None:
  """Raises ValueError where height or width cannot be halved so many times."""
  height, width = image_shape[:2]
  if height % 2**times or width % 2**times:
    raise ValueError(
      f'a {height}x{width} image cannot be halved {times} times: give network.hidden fewer '
      f'entries, or set data.image_size to a multiple of {2**times}'
    )


def attended(
  x: jax.Array, layer: int, layers: int, attention: tuple[int, ...], dtype: Any
) -> jax.Array:
  """Self-attention behind the hidden layers that have it, as a part of the module that calls it.

  Raises:
    ValueError: one of them is not there.
  """
  return SelfAttention(dtype)(x) if layer in places(attention, layers, 'hidden layers') else x


def image_norm(x: jax.Array, dtype: Any) -> jax.Array:
  """Layer normalisation over (H, W, C), as a part of the module that calls it."""
  return nn.LayerNorm(reduction_axes=(-3, -2, -1), dtype=dtype)(x)


class Encoder(nn.Module):
  """Image -> vector: every hidden layer halves height and width.

  Attributes:
    features: length of the output.
    hidden: channels of the hidden layers, first to last.
    activation: after every hidden layer.
    normalise: layer-normalise hidden layers over (H, W, C).
    kernel_init: of all kernels.
    dtype: of the computation; parameters and output are float32.
    attention: hidden layers behind which all places see each other, from 0; -1 is the last.
  """

  features: int
  hidden: tuple[int, ...]
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  normalise: bool = False
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = jnp.float32
  attention: tuple[int, ...] = ()

  def normalised(self, x: jax.Array, layer: int) -> jax.Array:
    """A hidden layer's output (H, W, C), normalised where that is wanted; layers count from 0."""
    del layer
    return image_norm(x, self.dtype) if self.normalise else x

  def halved(self, x: jax.Array) -> jax.Array:
    """The hidden layers: (H, W, C) -> (H / 2^n, W / 2^n, hidden[-1])."""
    check_halvings(x.shape, len(self.hidden))
    for layer, channels in enumerate(self.hidden):
      x = StridedConvolution(channels, kernel_init=self.kernel_init, dtype=self.dtype)(x)
      x = self.activation(self.normalised(x, layer))
      x = attended(x, layer, len(self.hidden), self.attention, self.dtype)
    return x

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """(H, W, C) -> (features,)."""
    x = self.halved(image).ravel()
    last = nn.Dense(self.features, kernel_init=self.kernel_init, dtype=self.dtype)
    return last(x).astype(jnp.float32)


class Decoder(nn.Module):
  """Vector -> image: every hidden layer doubles height and width.

  Attributes:
    image_shape: (H, W, C) of the output.
    hidden: channels of the ENCODER's hidden layers; the decoder is its mirror image.
    activation: after every hidden layer.
    normalise: layer-normalise hidden layers over (H, W, C).
    kernel_init: of all kernels.
    dtype: of the computation; parameters and output are float32.
    attention: the ENCODER's hidden layers whose mirror images have it, see there.
  """

  image_shape: tuple[int, int, int]
  hidden: tuple[int, ...]
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  normalise: bool = False
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = jnp.float32
  attention: tuple[int, ...] = ()

  def normalised(self, x: jax.Array, layer: int) -> jax.Array:
    """A hidden layer's output (H, W, C), normalised where that is wanted; layers count from 0."""
    del layer
    return image_norm(x, self.dtype) if self.normalise else x

  def doubled(self, x: jax.Array) -> jax.Array:
    """The hidden layers: (H / 2^n, W / 2^n, hidden[-1]) -> (H, W, C)."""
    layers = len(self.hidden)
    for layer, channels in enumerate((*reversed(self.hidden[:-1]), self.image_shape[2])):
      x = self.activation(self.normalised(x, layer))
      x = attended(x, layers - 1 - layer, layers, self.attention, self.dtype)
      x = TransposedConvolution(channels, kernel_init=self.kernel_init, dtype=self.dtype)(x)
    return x

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    """(latent,) -> (H, W, C)."""
    height, width, _ = self.image_shape
    require_layers(self.hidden)
    check_halvings(self.image_shape, len(self.hidden))
    smallest = (height >> len(self.hidden), width >> len(self.hidden), self.hidden[-1])
    first = nn.Dense(math.prod(smallest), kernel_init=self.kernel_init, dtype=self.dtype)
    return self.doubled(first(z).reshape(smallest)).astype(jnp.float32)


class ResidualBlock(nn.Module):
  """x + conv1x1(f(conv3x3(f(x)))), without normalisation (van den Oord et al. 2017, sec. 4.1).

  Attributes:
    activation: f.
    dtype: of the computation.
  """

  activation: Callable[[jax.Array], jax.Array] = nn.relu
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    h = Convolution(x.shape[-1], dtype=self.dtype)(self.activation(x))
    return x + Convolution(x.shape[-1], side=1, dtype=self.dtype)(self.activation(h))


class GridEncoder(Encoder):
  """Image -> a grid of vectors, each of its own part of the image (van den Oord et al. 2017).

  Attributes:
    blocks: residual blocks after the hidden layers.
  """

  blocks: int = 2

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """(H, W, C) -> (H / 2^n, W / 2^n, features), for n hidden layers."""
    x = self.halved(image)
    for _ in range(self.blocks):
      x = ResidualBlock(self.activation, self.dtype)(x)
    return Convolution(self.features, side=1, dtype=self.dtype)(x).astype(jnp.float32)


class GridDecoder(Decoder):
  """A grid of vectors -> image, as `GridEncoder` back.

  Attributes:
    blocks: residual blocks before the hidden layers.
  """

  blocks: int = 2

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    """(H / 2^n, W / 2^n, D) -> (H, W, C), for n hidden layers."""
    require_layers(self.hidden)
    x = Convolution(self.hidden[-1], dtype=self.dtype)(z)
    for _ in range(self.blocks):
      x = ResidualBlock(self.activation, self.dtype)(x)
    return self.doubled(x).astype(jnp.float32)
