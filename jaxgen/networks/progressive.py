"""Encoder and decoder that grow with their images (Karras et al. 2018, sec. 2).

Layers are named by their resolution, and what a finer one adds begins as nothing. So a network with
the parameters of one for images of half the side, and new ones besides, begins as exactly that: the
decoder draws the same pictures with every pixel four times, the encoder says of pictures what it
said of the means of 2x2 pixels.

Karras et al. blend the finer picture in by a schedule, until the coarser one is gone. Here pictures
of all resolutions are added up, as by Karras et al. 2020, sec. 4.1, and the layers that add to the
coarser ones begin at zero: training itself blends in, and nothing is scheduled. Of the rest, the
pixel norm of the generator is here; what their critic sees of the batch and the scaling of weights
as they are used are not.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.layers.convolution import Convolution

COARSEST = 4  # pixels of the shorter side: images of no more are not halved
leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)
zeros, he_normal = nn.initializers.zeros, nn.initializers.he_normal()


def levels(height: int, width: int, hidden: tuple[int, ...]) -> list[tuple[int, int, int]]:
  """Height, width and channels of every resolution, the coarsest first.

  Images are halved until a side is odd, or the shorter one has COARSEST pixels at most.

  Raises:
    ValueError: no number of channels.
  """
  if not hidden:
    raise ValueError('network.hidden=() names no channels: give those of the coarsest resolution')
  sides = [(height, width)]
  while min(sides[0]) > COARSEST and not (sides[0][0] % 2 or sides[0][1] % 2):
    sides.insert(0, (sides[0][0] // 2, sides[0][1] // 2))
  return [(*side, hidden[min(n, len(hidden) - 1)]) for n, side in enumerate(sides)]


def doubled(x: jax.Array) -> jax.Array:
  """Every pixel four times: (H, W, C) -> (2 H, 2 W, C)."""
  return x.repeat(2, axis=0).repeat(2, axis=1)


def halved(x: jax.Array) -> jax.Array:
  """Means of 2x2 pixels: (H, W, C) -> (H / 2, W / 2, C)."""
  height, width, channels = x.shape
  return x.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))


def pixel_norm(x: jax.Array) -> jax.Array:
  """Of every pixel, divided by the root of its mean square (Karras et al. 2018, sec. 4.2)."""
  return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-8)


class Encoder(nn.Module):
  """Image -> vector, from the finest resolution to the coarsest, each of which sees the image.

  Attributes:
    features: length of the output.
    hidden: channels at the coarsest resolution, at twice it and so on; the last of all finer ones.
    activation: of every layer but the last of a resolution.
    dtype: of the computation; parameters and output are float32.
  """

  grows = True
  features: int
  hidden: tuple[int, ...]
  activation: Callable[[jax.Array], jax.Array] = leaky_relu
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """(H, W, C) -> (features,)."""
    layer = partial(Convolution, dtype=self.dtype)
    stages = levels(*image.shape[:2], self.hidden)
    finer = 0.0
    for n in reversed(range(len(stages))):
      side, _, channels = stages[n]
      x = layer(channels, side=1, name=f'from_pixels_{side}')(image)
      x = self.activation(x + finer)
      x = self.activation(layer(channels, kernel_init=he_normal, name=f'block_{side}')(x))
      if n:
        coarser = layer(stages[n - 1][2], kernel_init=zeros, name=f'down_from_{side}')
        image, finer = halved(image), coarser(halved(x))
    last = nn.Dense(self.features, dtype=self.dtype, name='last')
    return last(x.ravel()).astype(jnp.float32)


class Decoder(nn.Module):
  """Vector -> image, from the coarsest resolution to the finest, without bounds.

  Attributes:
    image_shape: (H, W, C) of the output.
    hidden: channels at the coarsest resolution, at twice it and so on; the last of all finer ones.
    activation: of every layer.
    dtype: of the computation; parameters and output are float32.
  """

  grows = True
  image_shape: tuple[int, int, int]
  hidden: tuple[int, ...]
  activation: Callable[[jax.Array], jax.Array] = leaky_relu
  dtype: Any = jnp.float32

  def activated(self, x: jax.Array) -> jax.Array:
    """What a layer passes on."""
    return pixel_norm(self.activation(x))

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    """(latent,) -> (H, W, C)."""
    height, width, colours = self.image_shape
    layer = partial(Convolution, dtype=self.dtype)
    stages = levels(height, width, self.hidden)
    first = nn.Dense(math.prod(stages[0]), dtype=self.dtype, name='first')
    x, picture = self.activated(first(z).reshape(stages[0])), 0.0
    for n, (side, _, channels) in enumerate(stages):
      if n:
        x = self.activated(layer(channels, kernel_init=he_normal, name=f'up_to_{side}')(x))
        x, picture = doubled(x), doubled(picture)
      x = self.activated(layer(channels, kernel_init=he_normal, name=f'block_{side}')(x))
      init = zeros if n else nn.initializers.lecun_normal()
      to_pixels = layer(colours, side=1, kernel_init=init, name=f'to_pixels_{side}')
      picture = picture + to_pixels(x).astype(jnp.float32)
    return picture
