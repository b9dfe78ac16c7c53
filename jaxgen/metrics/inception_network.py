"""InceptionV3 as the Fréchet Inception distance knows it (Szegedy et al. 2015, fig. 5, 6, 7).

The graph of TensorFlow's 2015 release, which published distances use, differs from the paper and
from later releases: 1008 classes; average pooling that leaves the padding out of the mean; maximum
pooling in the last block's pooling branch; images resized by TensorFlow 1's bilinear rule. Batch
norm is folded into the convolutions. Names follow the weights' files.
"""

from functools import partial

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


_shrink = partial(_conv, kernel=(3, 3), stride=2, padding='VALID')


class BlockA(nn.Module):
  """35 x 35 (fig. 5)."""

  pool_width: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    one = _conv(x, 'branch1x1', 64)
    five = _conv(_conv(x, 'branch5x5_1', 48), 'branch5x5_2', 64, (5, 5))
    three = _conv(_conv(x, 'branch3x3dbl_1', 64), 'branch3x3dbl_2', 96, (3, 3))
    three = _conv(three, 'branch3x3dbl_3', 96, (3, 3))
    pool = _conv(_average(x), 'branch_pool', self.pool_width)
    return jnp.concatenate([one, five, three, pool], axis=-1)


class BlockB(nn.Module):
  """35 x 35 -> 17 x 17."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    double = _conv(_conv(x, 'branch3x3dbl_1', 64), 'branch3x3dbl_2', 96, (3, 3))
    branches = [_shrink(x, 'branch3x3', 384), _shrink(double, 'branch3x3dbl_3', 96), _halve(x)]
    return jnp.concatenate(branches, axis=-1)


class BlockC(nn.Module):
  """17 x 17, with 7 x 7 convolutions taken apart (fig. 6)."""

  width: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    one = _conv(x, 'branch1x1', 192)
    seven = _conv(_conv(x, 'branch7x7_1', self.width), 'branch7x7_2', self.width, (1, 7))
    seven = _conv(seven, 'branch7x7_3', 192, (7, 1))
    double = _conv(x, 'branch7x7dbl_1', self.width)
    for number, kernel in ((2, (7, 1)), (3, (1, 7)), (4, (7, 1))):
      double = _conv(double, f'branch7x7dbl_{number}', self.width, kernel)
    double = _conv(double, 'branch7x7dbl_5', 192, (1, 7))
    pool = _conv(_average(x), 'branch_pool', 192)
    return jnp.concatenate([one, seven, double, pool], axis=-1)


class BlockD(nn.Module):
  """17 x 17 -> 8 x 8."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    three = _shrink(_conv(x, 'branch3x3_1', 192), 'branch3x3_2', 320)
    seven = _conv(_conv(x, 'branch7x7x3_1', 192), 'branch7x7x3_2', 192, (1, 7))
    seven = _shrink(_conv(seven, 'branch7x7x3_3', 192, (7, 1)), 'branch7x7x3_4', 192)
    return jnp.concatenate([three, seven, _halve(x)], axis=-1)


class BlockE(nn.Module):
  """8 x 8, with 3 x 3 convolutions side by side (fig. 7)."""

  last: bool

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    three = _conv(x, 'branch3x3_1', 384)
    double = _conv(_conv(x, 'branch3x3dbl_1', 448), 'branch3x3dbl_2', 384, (3, 3))
    branches = [
      _conv(x, 'branch1x1', 320),
      _conv(three, 'branch3x3_2a', 384, (1, 3)),
      _conv(three, 'branch3x3_2b', 384, (3, 1)),
      _conv(double, 'branch3x3dbl_3a', 384, (1, 3)),
      _conv(double, 'branch3x3dbl_3b', 384, (3, 1)),
      _conv(_maximum(x) if self.last else _average(x), 'branch_pool', 192),
    ]
    return jnp.concatenate(branches, axis=-1)


class Inception(nn.Module):
  """The whole network, from pixels to the last average and the logits behind it."""

  @nn.compact
  def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """uint8 (N, H, W, 1 or 3) -> features (N, 2048), logits without their bias (N, 1008)."""
    x = _shrink(prepare(images), 'Conv2d_1a_3x3', 32)
    x = _conv(x, 'Conv2d_2a_3x3', 32, (3, 3), padding='VALID')
    x = _halve(_conv(x, 'Conv2d_2b_3x3', 64, (3, 3)))
    x = _conv(x, 'Conv2d_3b_1x1', 80)
    x = _halve(_conv(x, 'Conv2d_4a_3x3', 192, (3, 3), padding='VALID'))
    for letter, pool_width in (('b', 32), ('c', 64), ('d', 64)):
      x = BlockA(pool_width, name=f'Mixed_5{letter}')(x)
    x = BlockB(name='Mixed_6a')(x)
    for letter, width in (('b', 128), ('c', 160), ('d', 160), ('e', 192)):
      x = BlockC(width, name=f'Mixed_6{letter}')(x)
    x = BlockD(name='Mixed_7a')(x)
    x = BlockE(False, name='Mixed_7b')(x)
    x = BlockE(True, name='Mixed_7c')(x)
    features = x.mean(axis=(1, 2))
    return features, nn.Dense(CLASSES, use_bias=False, name='fc')(features)
