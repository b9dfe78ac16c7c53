"""Encoder and decoder of DCGAN, with batch normalisation (Radford et al. 2016, sec. 3).

As `convolutional`, but normalised over the batch in every hidden layer except the encoder's first,
and initialised with N(0, 0.02^2). In training every example sees the whole batch, so a critic of
this kind has no gradient in one image of its own.
"""

import flax.linen as nn
import jax

from jaxgen.layers.convolution import Initializer
from jaxgen.layers.normalisation import BatchNorm
from jaxgen.networks import convolutional

SMALL = nn.initializers.normal(0.02)


class Encoder(convolutional.Encoder):
  """Image -> vector: every hidden layer halves height and width."""

  kernel_init: Initializer = SMALL

  def normalised(self, x: jax.Array, layer: int) -> jax.Array:
    """Over the batch, but not next to the image."""
    return BatchNorm(self.dtype)(x) if layer else x


class Decoder(convolutional.Decoder):
  """Vector -> image: every hidden layer doubles height and width."""

  kernel_init: Initializer = SMALL

  def normalised(self, x: jax.Array, layer: int) -> jax.Array:
    """Over the batch."""
    del layer
    return BatchNorm(self.dtype)(x)
