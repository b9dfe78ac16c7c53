"""The U-Net of Ho et al. 2020 (app. B), as diffusers has it in `UNet2DModel`, with its names.

Differs from `unet` in what was changed later: time is added in a block, not multiplied; height and
width are halved by 3x3 convolutions of stride 2, and doubled by repetition before one; attention
has one head. With its fields' defaults it is the network of google/ddpm-cifar10-32.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.layers.attention import places
from jaxgen.layers.convolution import Convolution, StridedConvolution
from jaxgen.layers.rematerialisation import call
from jaxgen.networks.unet import GroupNorm, check_divisible

zeros = nn.initializers.zeros


def embedding(t: jax.Array, features: int, shift: float, cosine_first: bool) -> jax.Array:
  """() -> (features,): sines, then cosines of t at frequencies 1 ... 1e-4 (for a shift of 1)."""
  half = features // 2
  frequencies = jnp.exp(-math.log(1e4) * jnp.arange(half) / (half - shift))
  angles = jnp.asarray(t, jnp.float32) * frequencies
  parts = jnp.sin(angles), jnp.cos(angles)
  return jnp.concatenate(parts[::-1] if cosine_first else parts)


class Halving(StridedConvolution):
  """3x3 convolution of stride 2: (H, W, C) -> (H / 2, W / 2, features).

  Attributes:
    padding: 1 where it is padded on all sides, 0 where on the right and below alone.
  """

  side: int = 3
  padding: int = 0

  def linear(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """That of 4x4, padded on all sides, with zeros in the kernel's last or first row and column."""
    edge = (0, 1) if self.padding else (1, 0)
    return super().linear(x, jnp.pad(kernel, (edge, edge, (0, 0), (0, 0))))


class ResidualBlock(nn.Module):
  """x + conv(swish(norm(conv(swish(norm(x))) + time))).

  Attributes:
    features: channels of the output.
    groups: of a normalisation.
    epsilon: of a normalisation.
    dropout: share of features that are left out before the second convolution.
    dtype: of the computation.
  """

  features: int
  groups: int
  epsilon: float
  dropout: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, time: jax.Array, training: bool = False) -> jax.Array:
    """(H, W, C), (time features,) -> (H, W, features)."""
    norm = {'dtype': self.dtype, 'epsilon': self.epsilon, 'groups': self.groups}
    h = nn.swish(GroupNorm(**norm, name='norm1')(x))
    h = Convolution(self.features, dtype=self.dtype, name='conv1')(h)
    time = nn.Dense(self.features, dtype=self.dtype, name='time_emb_proj')(nn.swish(time))
    h = nn.swish(GroupNorm(**norm, name='norm2')(h + time[None, None]))
    h = nn.Dropout(self.dropout, deterministic=not training)(h)
    h = Convolution(self.features, kernel_init=zeros, dtype=self.dtype, name='conv2')(h)
    if x.shape[-1] != self.features:
      x = Convolution(self.features, side=1, dtype=self.dtype, name='conv_shortcut')(x)
    return x + h


class Attention(nn.Module):
  """x + self-attention between all pixels.

  Attributes:
    head_width: channels of one head, 0 for all.
    groups: of the normalisation.
    epsilon: of the normalisation.
    dtype: of the computation.
  """

  head_width: int
  groups: int
  epsilon: float
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    features = x.shape[-1]
    width = self.head_width or features
    if features % width:
      raise ValueError(f'network.head_width={width} must divide the {features} channels of a level')
    h = GroupNorm(self.dtype, self.epsilon, self.groups, name='group_norm')(x)
    h = h.reshape(-1, features)
    q, k, v = (
      nn.Dense(features, dtype=self.dtype, name=name)(h).reshape(-1, features // width, width)
      for name in ('to_q', 'to_k', 'to_v')
    )
    h = jax.nn.dot_product_attention(q, k, v).reshape(-1, features)
    h = nn.Dense(features, kernel_init=zeros, dtype=self.dtype, name='to_out.0')(h)
    return x + h.reshape(x.shape)


class DiffusersUNet(nn.Module):
  """Predicts from a noisy image and its diffusion time, e.g. the noise.

  Attributes:
    channels: of each level, first to last; every level but the first halves height and width.
    blocks: residual blocks a level on the way down; one more on the way up.
    attention: levels with self-attention after every block; between the ways there always is one.
    head_width: channels of one attention head, 0 for all.
    groups: of every normalisation.
    epsilon: of every normalisation.
    padding: of the convolutions that halve, see `Halving`.
    shift: of the frequencies of time, see `embedding`.
    cosine_first: whether the cosines of time come before the sines.
    output_channels: of the output, 0 for as many as the input has.
    dropout: share of features left out in training.
    remat: whether training computes the inside of every block twice, rather than keep it.
    dtype: of the computation; parameters, normalisation and output are float32.
  """

  channels: tuple[int, ...] = (128, 256, 256, 256)
  blocks: int = 2
  attention: tuple[int, ...] = (1,)
  head_width: int = 0
  groups: int = 32
  epsilon: float = 1e-6
  padding: int = 0
  shift: float = 1.0
  cosine_first: bool = False
  output_channels: int = 0
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  def block(
    self, x: jax.Array, time: jax.Array, level: int, place: str, index: int, training: bool
  ) -> jax.Array:
    """A residual block of one level, with attention where the level has it."""
    x = self.residual(x, time, self.channels[level], f'{place}.resnets.{index}', training)
    if level in places(self.attention, len(self.channels), 'levels'):
      x = self.attend(x, f'{place}.attentions.{index}')
    return x

  def residual(
    self, x: jax.Array, time: jax.Array, features: int, name: str, training: bool
  ) -> jax.Array:
    """A residual block."""
    fields = self.groups, self.epsilon, self.dropout, self.dtype
    return call(ResidualBlock(features, *fields, name=name), self.remat, x, time, training=training)

  def attend(self, x: jax.Array, name: str) -> jax.Array:
    """Attention between all pixels."""
    fields = self.head_width, self.groups, self.epsilon, self.dtype
    return call(Attention(*fields, name=name), self.remat, x)

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array, training: bool = False) -> jax.Array:
    """x (H, W, C), t () from 1 to 1000 -> (H, W, output_channels or C).

    Raises:
      ValueError: the image cannot be halved as often as there are levels, or channels not be
        divided into groups or heads.
    """
    height, width, colours = x.shape
    levels, first = range(len(self.channels)), self.channels[0]
    check_divisible(height, width, 1, len(levels))
    if any(channels % self.groups for channels in self.channels):
      raise ValueError(f'network.groups={self.groups} must divide network.channels={self.channels}')
    dense = {'features': 4 * first, 'dtype': self.dtype}
    time = embedding(t - 1, first, self.shift, self.cosine_first)  # diffusers counts from 0
    time = nn.swish(nn.Dense(**dense, name='time_embedding.linear_1')(time))
    time = nn.Dense(**dense, name='time_embedding.linear_2')(time)

    x = Convolution(first, dtype=self.dtype, name='conv_in')(x)
    skips = [x]
    for level, channels in enumerate(self.channels):
      for index in range(self.blocks):
        x = self.block(x, time, level, f'down_blocks.{level}', index, training)
        skips.append(x)
      if level < levels[-1]:
        name = f'down_blocks.{level}.downsamplers.0.conv'
        x = Halving(channels, padding=self.padding, dtype=self.dtype, name=name)(x)
        skips.append(x)

    x = self.residual(x, time, self.channels[-1], 'mid_block.resnets.0', training)
    x = self.attend(x, 'mid_block.attentions.0')
    x = self.residual(x, time, self.channels[-1], 'mid_block.resnets.1', training)

    for turn, level in enumerate(reversed(levels)):
      for index in range(self.blocks + 1):
        x = jnp.concatenate([x, skips.pop()], axis=-1)
        x = self.block(x, time, level, f'up_blocks.{turn}', index, training)
      if level > 0:
        x = jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)
        name = f'up_blocks.{turn}.upsamplers.0.conv'
        x = Convolution(self.channels[level], dtype=self.dtype, name=name)(x)

    x = nn.swish(GroupNorm(epsilon=self.epsilon, groups=self.groups, name='conv_norm_out')(x))
    return Convolution(self.output_channels or colours, kernel_init=zeros, name='conv_out')(x)


Denoiser = DiffusersUNet
