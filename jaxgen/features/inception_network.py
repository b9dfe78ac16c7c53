"""InceptionV3 as the Fréchet Inception distance knows it (Szegedy et al. 2015, fig. 5, 6, 7).

The graph of TensorFlow's 2015 release, which published distances use, differs from the paper and
from later releases: 1008 classes; average pooling that leaves the padding out of the mean; maximum
pooling in the last block's pooling branch; images resized by TensorFlow 1's bilinear rule. Batch
norm is folded into the convolutions. Names follow the weights' files.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

SIDE = 299
CLASSES = 1008
DIMENSION = 2048

_average = partial(
  nn.avg_pool, window_shape=(3, 3), strides=(1, 1), padding='SAME', count_include_pad=False
)
_maximum = partial(nn.max_pool, window_shape=(3, 3), strides=(1, 1), padding='SAME')
_halve = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding='VALID')


def resize(images: jax.Array, side: int = SIDE) -> jax.Array:
  """Bilinear as in TensorFlow 1: corners not aligned, pixel i at position i, no antialiasing.

  Args:
    images: float32 (N, H, W, C).
    side: height and width of the result.
  """
  for axis in (2, 1):
    length = images.shape[axis]
    position = np.arange(side, dtype=np.float32) * np.float32(length / side)
    low = position.astype(np.int32)
    weight = np.expand_dims(position - low, [a for a in range(4) if a != axis])
    before = jnp.take(images, low, axis)
    after = jnp.take(images, np.minimum(low + 1, length - 1), axis)
    images = before + (after - before) * jnp.broadcast_to(weight, before.shape)
  return images


def prepare(images: jax.Array) -> jax.Array:
  """uint8 (N, H, W, 1 or 3) -> float32 (N, 299, 299, 3) in [-1, 1); grey in all three channels."""
  images = jnp.broadcast_to(images, (*images.shape[:3], 3)).astype(jnp.float32)
  return (resize(images) - 128.0) / 128.0


def _conv(
  x: jax.Array,
  name: str,
  width: int,
  kernel: tuple[int, int] = (1, 1),
  *,
  stride: int = 1,
  padding: str = 'SAME',
) -> jax.Array:
  """Convolution with folded batch norm, and ReLU; inside a compact module."""
  return nn.relu(nn.Conv(width, kernel, strides=stride, padding=padding, name=name)(x))


class Layers(NamedTuple):
  """What releases of the network differ in.

  Attributes:
    conv: convolution, batch norm and ReLU: (x, name, width, kernel, *, stride, padding) -> x.
    average: pooling inside the blocks, 3 x 3.
    last: the same in the last block.
  """

  conv: Callable[..., jax.Array]
  average: Callable[[jax.Array], jax.Array]
  last: Callable[[jax.Array], jax.Array]

  def shrink(self, x: jax.Array, name: str, width: int) -> jax.Array:
    """Halves the sides by a convolution."""
    return self.conv(x, name, width, (3, 3), stride=2, padding='VALID')


PUBLISHED = Layers(_conv, _average, _maximum)


class BlockA(nn.Module):
  """35 x 35 (fig. 5)."""

  layers: Layers
  pool_width: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    layers, conv = self.layers, self.layers.conv
    one = conv(x, 'branch1x1', 64)
    five = conv(conv(x, 'branch5x5_1', 48), 'branch5x5_2', 64, (5, 5))
    three = conv(conv(x, 'branch3x3dbl_1', 64), 'branch3x3dbl_2', 96, (3, 3))
    three = conv(three, 'branch3x3dbl_3', 96, (3, 3))
    pool = conv(layers.average(x), 'branch_pool', self.pool_width)
    return jnp.concatenate([one, five, three, pool], axis=-1)


class BlockB(nn.Module):
  """35 x 35 -> 17 x 17."""

  layers: Layers

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    layers, conv = self.layers, self.layers.conv
    double = conv(conv(x, 'branch3x3dbl_1', 64), 'branch3x3dbl_2', 96, (3, 3))
    branches = [
      layers.shrink(x, 'branch3x3', 384),
      layers.shrink(double, 'branch3x3dbl_3', 96),
      _halve(x),
    ]
    return jnp.concatenate(branches, axis=-1)


class BlockC(nn.Module):
  """17 x 17, with 7 x 7 convolutions taken apart (fig. 6)."""

  layers: Layers
  width: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    layers, conv = self.layers, self.layers.conv
    one = conv(x, 'branch1x1', 192)
    seven = conv(conv(x, 'branch7x7_1', self.width), 'branch7x7_2', self.width, (1, 7))
    seven = conv(seven, 'branch7x7_3', 192, (7, 1))
    double = conv(x, 'branch7x7dbl_1', self.width)
    for number, kernel in ((2, (7, 1)), (3, (1, 7)), (4, (7, 1))):
      double = conv(double, f'branch7x7dbl_{number}', self.width, kernel)
    double = conv(double, 'branch7x7dbl_5', 192, (1, 7))
    pool = conv(layers.average(x), 'branch_pool', 192)
    return jnp.concatenate([one, seven, double, pool], axis=-1)


class BlockD(nn.Module):
  """17 x 17 -> 8 x 8."""

  layers: Layers

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    layers, conv = self.layers, self.layers.conv
    three = layers.shrink(conv(x, 'branch3x3_1', 192), 'branch3x3_2', 320)
    seven = conv(conv(x, 'branch7x7x3_1', 192), 'branch7x7x3_2', 192, (1, 7))
    seven = layers.shrink(conv(seven, 'branch7x7x3_3', 192, (7, 1)), 'branch7x7x3_4', 192)
    return jnp.concatenate([three, seven, _halve(x)], axis=-1)


class BlockE(nn.Module):
  """8 x 8, with 3 x 3 convolutions side by side (fig. 7)."""

  layers: Layers
  last: bool

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    layers, conv = self.layers, self.layers.conv
    three = conv(x, 'branch3x3_1', 384)
    double = conv(conv(x, 'branch3x3dbl_1', 448), 'branch3x3dbl_2', 384, (3, 3))
    branches = [
      conv(x, 'branch1x1', 320),
      conv(three, 'branch3x3_2a', 384, (1, 3)),
      conv(three, 'branch3x3_2b', 384, (3, 1)),
      conv(double, 'branch3x3dbl_3a', 384, (1, 3)),
      conv(double, 'branch3x3dbl_3b', 384, (3, 1)),
      conv((layers.last if self.last else layers.average)(x), 'branch_pool', 192),
    ]
    return jnp.concatenate(branches, axis=-1)


class Trunk(nn.Module):
  """The network up to the last average."""

  layers: Layers = PUBLISHED

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32 (N, 299, 299, 3) -> features (N, 2048)."""
    layers, conv = self.layers, self.layers.conv
    x = layers.shrink(x, 'Conv2d_1a_3x3', 32)
    x = conv(x, 'Conv2d_2a_3x3', 32, (3, 3), padding='VALID')
    x = _halve(conv(x, 'Conv2d_2b_3x3', 64, (3, 3)))
    x = conv(x, 'Conv2d_3b_1x1', 80)
    x = _halve(conv(x, 'Conv2d_4a_3x3', 192, (3, 3), padding='VALID'))
    for letter, pool_width in (('b', 32), ('c', 64), ('d', 64)):
      x = BlockA(layers, pool_width, name=f'Mixed_5{letter}')(x)
    x = BlockB(layers, name='Mixed_6a')(x)
    for letter, width in (('b', 128), ('c', 160), ('d', 160), ('e', 192)):
      x = BlockC(layers, width, name=f'Mixed_6{letter}')(x)
    x = BlockD(layers, name='Mixed_7a')(x)
    x = BlockE(layers, False, name='Mixed_7b')(x)
    return BlockE(layers, True, name='Mixed_7c')(x).mean(axis=(1, 2))


class Inception(nn.Module):
  """The whole network as published distances use it, from pixels to features and logits."""

  @nn.compact
  def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """uint8 (N, H, W, 1 or 3) -> features (N, 2048), logits without their bias (N, 1008)."""
    trunk = Trunk()
    nn.share_scope(self, trunk)  # so that names are those of the weights' files
    features = trunk(prepare(images))
    return features, nn.Dense(CLASSES, use_bias=False, name='fc')(features)
