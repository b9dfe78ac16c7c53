"""The U-Net of denoising diffusion (Ho et al. 2020, app. B; Dhariwal & Nichol 2021, sec. 3).

Going down, every level is a few residual blocks, and halves height and width; going up, every
level doubles them, and its blocks also see what the way down has left on that level. Time enters
every block as a scale and a shift after the normalisation, or is added before it. Every residual
branch starts at zero, so that the network starts close to the identity's easy gradients and at the
output 0.
"""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.layers.attention import places
from jaxgen.layers.convolution import Convolution, depth_to_space, space_to_depth
from jaxgen.layers.embedding import fourier_embedding, timestep_embedding
from jaxgen.layers.rematerialisation import call

zeros = nn.initializers.zeros
PixelDense = partial(Convolution, side=1)  # the same matrix at every pixel
CONDITIONINGS = 'scale_and_shift', 'addition'
CLOCKS = {'sines': timestep_embedding, 'fourier': fourier_embedding}


class GroupNorm(nn.Module):
  """Normalises groups of channels over the whole image (Wu & He 2018), in float32.

  Moments are taken per channel and only then pooled over a group, by a matrix product, and all that
  follows is one multiplication and one addition a pixel: several times faster than sums over
  groups, or than a repetition of their means, which XLA would work out anew at every pixel.

  Attributes:
    dtype: of the output.
    epsilon: added to the variance.
    groups: how many, 0 for groups of four channels or more, 32 at most.
  """

  dtype: Any = jnp.float32
  epsilon: float = 1e-5
  groups: int = 0

  @nn.compact
  def __call__(self, x: jax.Array, scale_shift: jax.Array | None = None) -> jax.Array:
    """(H, W, C), modulation (2 C,) -> (H, W, C)."""
    features = x.shape[-1]
    groups = self.groups or math.gcd(features, max(1, min(32, features // 4)))
    scale = self.param('scale', nn.initializers.ones, (features,))
    bias = self.param('bias', zeros, (features,))
    x = x.astype(jnp.float32)
    moments = jnp.stack([x.mean((0, 1)), (x * x).mean((0, 1))])
    size = features // groups
    pool = np.kron(np.eye(groups), np.full((size, size), 1.0 / size)).astype(np.float32)
    mean, square = jnp.dot(moments, pool, precision='highest')
    scale = scale * jax.lax.rsqrt(jnp.maximum(square - mean * mean, 0.0) + self.epsilon)
    bias = bias - mean * scale
    if scale_shift is not None:
      factor, shift = jnp.split(scale_shift.astype(jnp.float32), 2)
      scale, bias = scale * (1.0 + factor), bias * (1.0 + factor) + shift
    return (x * scale[None, None] + bias[None, None]).astype(self.dtype)


class ResidualBlock(nn.Module):
  """x + conv(swish(norm(conv(swish(norm(x)))))), the second norm modulated by time.

  Attributes:
    features: channels of the output.
    conditioning: 'scale_and_shift' after that norm, or 'addition' before it.
    dropout: share of features that are left out before the second convolution.
    dtype: of the computation.
  """

  features: int
  conditioning: str = 'scale_and_shift'
  dropout: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, time: jax.Array, training: bool = False) -> jax.Array:
    """(H, W, C), (time features,) -> (H, W, features)."""
    scales = self.conditioning == 'scale_and_shift'
    told = nn.Dense((2 if scales else 1) * self.features, dtype=self.dtype)(time)
    h = nn.swish(GroupNorm(self.dtype)(x))
    h = Convolution(self.features, dtype=self.dtype)(h)
    h = GroupNorm(self.dtype)(h, told) if scales else GroupNorm(self.dtype)(h + told[None, None])
    h = nn.swish(h)
    h = nn.Dropout(self.dropout, deterministic=not training)(h)
    h = Convolution(self.features, kernel_init=zeros, dtype=self.dtype)(h)
    if x.shape[-1] != self.features:
      x = PixelDense(self.features, dtype=self.dtype)(x)
    return x + h


class Attention(nn.Module):
  """x + multi-head self-attention between all pixels (Dhariwal & Nichol 2021, sec. 3).

  Attributes:
    head_width: channels of one head.
    dtype: of the computation.
  """

  head_width: int = 32
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    features = x.shape[-1]
    heads = max(1, features // self.head_width)
    if features % heads:
      raise ValueError(
        f'{features} channels cannot be shared by {heads} heads of {self.head_width}: '
        'let head_width divide channels'
      )
    h = PixelDense(3 * features, dtype=self.dtype)(GroupNorm(self.dtype)(x))
    q, k, v = jnp.split(h, 3, axis=-1)
    split = (-1, heads, features // heads)
    h = jax.nn.dot_product_attention(q.reshape(split), k.reshape(split), v.reshape(split))
    return x + PixelDense(features, kernel_init=zeros, dtype=self.dtype)(h.reshape(x.shape))


def check_divisible(height: int, width: int, patch: int, levels: int) -> None:
  """Raises ValueError where the patches or the levels do not fit into the image."""
  for size in (height, width):
    if size % patch:
      raise ValueError(
        f'patches of {patch} do not tile a {height}x{width} image: choose network.patch to '
        f'divide {size}, or resize the images'
      )
    sizes = [size // patch]
    while sizes[-1] % 2 == 0:
      sizes.append(sizes[-1] // 2)
    if len(sizes) < levels:
      times = {1: 'not at all', 2: 'once', 3: 'twice'}.get(len(sizes), f'{len(sizes) - 1} times')
      raise ValueError(
        f'{levels} multipliers halve a {height}x{width} image {levels - 1} times, but {size} can '
        f'be halved {times}{" after patching" if patch > 1 else ""}: '
        f'{" -> ".join(map(str, sizes))}; use at most {len(sizes)} multipliers or resize the '
        f'images to a multiple of {patch * 2 ** (levels - 1)}'
      )


class UNet(nn.Module):
  """Predicts from a noisy image and its diffusion time, e.g. the noise.

  Attributes:
    channels: at the first level.
    multipliers: of `channels` at each level; every level but the first halves height and width.
    blocks: residual blocks a level on the way down; one more on the way up.
    attention: levels with self-attention after every block; -1 is the coarsest. Between the ways
      down and up there always is one.
    head_width: channels of one attention head.
    conditioning: how blocks are told the time: 'scale_and_shift', or 'addition' (Ho et al. 2020).
    clock: what they are told it by: 'sines' at frequencies in equal ratios, or 'fourier' features.
    patch: side of the squares of pixels that the network takes as one pixel of its first level;
      2 makes it about four times faster.
    output_channels: of the output, 0 for as many as the input has.
    classes: how many labels there are, 0 for a network that is told none.
    interval: whether it is told a second time, such as how far a step goes.
    dropout: share of features left out in training.
    remat: whether training computes the inside of every block twice, rather than keep it.
    dtype: of the computation; parameters, normalisation and output are float32.
  """

  channels: int = 64
  multipliers: tuple[int, ...] = (1, 2, 2)
  blocks: int = 2
  attention: tuple[int, ...] = (-1,)
  head_width: int = 32
  conditioning: str = 'scale_and_shift'
  clock: str = 'sines'
  patch: int = 1
  output_channels: int = 0
  classes: int = 0
  interval: bool = False
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  def residual(self, x: jax.Array, time: jax.Array, features: int, training: bool) -> jax.Array:
    """A residual block."""
    block = ResidualBlock(features, self.conditioning, self.dropout, self.dtype)
    return call(block, self.remat, x, time, training=training)

  def attend(self, x: jax.Array) -> jax.Array:
    """Attention between all pixels."""
    return call(Attention(self.head_width, self.dtype), self.remat, x)

  def block(self, x: jax.Array, time: jax.Array, level: int, training: bool) -> jax.Array:
    """A residual block of one level, with attention where the level has it."""
    x = self.residual(x, time, self.channels * self.multipliers[level], training)
    levels = places(self.attention, len(self.multipliers), 'levels')
    return self.attend(x) if level in levels else x

  def embed_time(self, t: jax.Array) -> jax.Array:
    """() -> (4 channels,)."""
    time = nn.Dense(4 * self.channels, dtype=self.dtype)(CLOCKS[self.clock](t, self.channels))
    return nn.Dense(4 * self.channels, dtype=self.dtype)(nn.swish(time))

  def embed(self, t: jax.Array, label: jax.Array | None, interval: jax.Array | None) -> jax.Array:
    """What every block is told: the time, and where it has them the interval and the label."""
    time = self.embed_time(t)
    if self.interval:
      time = time + self.embed_time(interval)
    if self.classes:
      known = jnp.where(label < 0, self.classes, label)  # the last row is for no label
      time = time + nn.Embed(self.classes + 1, 4 * self.channels, dtype=self.dtype)(known)
    return nn.swish(time)

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    t: jax.Array,
    label: jax.Array | None = None,
    interval: jax.Array | None = None,
    training: bool = False,
  ) -> jax.Array:
    """x (H, W, C), t () -> (H, W, output_channels or C).

    Args:
      x: the noisy image.
      t: its time, of the order of 1 ... 1000; sines tell times below 1 apart too.
      label: () int32, its class, -1 where that is unknown; only where there are classes.
      interval: () another time, only where the network is told one.
      training: whether features are left out, which takes an rng `dropout`.

    Raises:
      ValueError: the image cannot be halved as often as there are levels, or an unknown name.
    """
    for name, known in (('conditioning', CONDITIONINGS), ('clock', CLOCKS)):
      if (chosen := getattr(self, name)) not in known:
        raise ValueError(f'network.{name}={chosen!r}; choose {" or ".join(known)}')
    height, width, colours = x.shape
    levels = range(len(self.multipliers))
    check_divisible(height, width, self.patch, len(levels))

    time = self.embed(t, label, interval)
    x = Convolution(self.channels, dtype=self.dtype)(space_to_depth(x, self.patch))
    skips = [x]
    for level in levels:
      if level > 0:
        x = PixelDense(x.shape[-1], dtype=self.dtype)(space_to_depth(x, 2))
        skips.append(x)
      for _ in range(self.blocks):
        x = self.block(x, time, level, training)
        skips.append(x)

    x = self.residual(x, time, x.shape[-1], training)
    x = self.attend(x)
    x = self.residual(x, time, x.shape[-1], training)

    for level in reversed(levels):
      for _ in range(self.blocks + 1):
        x = self.block(jnp.concatenate([x, skips.pop()], axis=-1), time, level, training)
      if level > 0:
        x = depth_to_space(PixelDense(4 * x.shape[-1], dtype=self.dtype)(x), 2)

    x = nn.swish(GroupNorm()(x))
    features = self.patch**2 * (self.output_channels or colours)
    return depth_to_space(Convolution(features, kernel_init=zeros)(x), self.patch)


Denoiser = UNet
