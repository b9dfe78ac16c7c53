"""Convolutional encoder and decoder after DCGAN's guidelines (Radford et al. 2016, sec. 3).

Strided convolutions instead of pooling, transposed ones for upsampling, no hidden linear layer.
Where DCGAN normalises over the batch, layers here normalise over the image or not at all, so that
a network stays a function of one example and a gradient penalty stays well defined
(Gulrajani et al. 2017, sec. 4).
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.layers.convolution import StridedConvolution, TransposedConvolution


def check_halvings(image_shape: tuple[int, ...], times: int) -> None:
  """Raises ValueError where height or width cannot be halved so many times."""
  height, width = image_shape[:2]
  if height % 2**times or width % 2**times:
    raise ValueError(
      f'a {height}x{width} image cannot be halved {times} times: give network.hidden fewer '
      f'entries, or set data.image_size to a multiple of {2**times}'
    )


class Encoder(nn.Module):
  """Image -> vector: every hidden layer halves height and width.

  Attributes:
    features: length of the output.
    hidden: channels of the hidden layers, first to last.
    activation: after every hidden layer.
    normalise: layer-normalise hidden layers over (H, W, C).
    dtype: of the computation; parameters and output are float32.
  """

  features: int
  hidden: tuple[int, ...]
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  normalise: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """(H, W, C) -> (features,)."""
    check_halvings(image.shape, len(self.hidden))
    x = image
    for channels in self.hidden:
      x = StridedConvolution(channels, dtype=self.dtype)(x)
      if self.normalise:
        x = nn.LayerNorm(reduction_axes=(-3, -2, -1), dtype=self.dtype)(x)
      x = self.activation(x)
    return nn.Dense(self.features, dtype=self.dtype)(x.ravel()).astype(jnp.float32)


class Decoder(nn.Module):
  """Vector -> image: every hidden layer doubles height and width.

  Attributes:
    image_shape: (H, W, C) of the output.
    hidden: channels of the ENCODER's hidden layers; the decoder is its mirror image.
    activation: after every hidden layer.
    normalise: layer-normalise hidden layers over (H, W, C).
    dtype: of the computation; parameters and output are float32.
  """

  image_shape: tuple[int, int, int]
  hidden: tuple[int, ...]
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  normalise: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    """(latent,) -> (H, W, C)."""
    height, width, colours = self.image_shape
    check_halvings(self.image_shape, len(self.hidden))
    smallest = (height >> len(self.hidden), width >> len(self.hidden), self.hidden[-1])
    x = nn.Dense(math.prod(smallest), dtype=self.dtype)(z).reshape(smallest)
    for channels in (*reversed(self.hidden[:-1]), colours):
      if self.normalise:
        x = nn.LayerNorm(reduction_axes=(-3, -2, -1), dtype=self.dtype)(x)
      x = TransposedConvolution(channels, dtype=self.dtype)(self.activation(x))
    return x.astype(jnp.float32)
