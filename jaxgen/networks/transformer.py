"""Transformers on patches of the image (Peebles & Xie 2023, DiT with adaLN-Zero).

A patch is a token with a fixed place. Time, and the label where there are classes, scale and shift
every normalised input and gate every branch, which starts at zero: the network starts at the
output 0.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.layers.convolution import depth_to_space, space_to_depth
from jaxgen.layers.embedding import grid_embedding, timestep_embedding
from jaxgen.layers.rematerialisation import call

TIME_FEATURES = 256  # of the sines and cosines of a time
zeros = nn.initializers.zeros


def modulated(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
  """Tokens (N, width), each of mean 0 and variance 1, scaled and shifted."""
  x = x.astype(jnp.float32)
  x = x - x.mean(axis=-1, keepdims=True)
  x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
  return (x * (1.0 + scale[None]) + shift[None]).astype(scale.dtype)


class Block(nn.Module):
  """Attention between tokens, then two layers on each.

  Attributes:
    heads: of the attention.
    dropout: share of features left out of each branch in training.
    dtype: of the computation.
    causal: whether a token attends to itself and those before it alone.
  """

  heads: int
  dropout: float = 0.0
  dtype: Any = jnp.float32
  causal: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array, training: bool = False) -> jax.Array:
    """(N, width), (width,) -> (N, width)."""
    width = x.shape[-1]
    dense = partial(nn.Dense, dtype=self.dtype)
    drop = nn.Dropout(self.dropout, deterministic=not training)
    told = dense(6 * width, kernel_init=zeros)(nn.swish(condition))
    scale, shift, gate, scale_2, shift_2, gate_2 = jnp.split(told, 6)
    q, k, v = jnp.split(dense(3 * width)(modulated(x, scale, shift)), 3, axis=-1)
    split = (-1, self.heads, width // self.heads)
    q, k, v = (a.reshape(split) for a in (q, k, v))
    h = jax.nn.dot_product_attention(q, k, v, is_causal=self.causal)
    x = x + gate[None] * drop(dense(width)(h.reshape(x.shape)))
    h = nn.gelu(dense(4 * width)(modulated(x, scale_2, shift_2)))
    return x + gate_2[None] * drop(dense(width)(h))


def check_width(width: int, heads: int) -> None:
  """Raises ValueError unless heads and sines divide the width."""
  if width % heads or width % 4:
    raise ValueError(f'network.width={width} must be a multiple of network.heads={heads} and of 4')


class Transformer(nn.Module):
  """Predicts from a noisy image and its diffusion time, e.g. the noise.

  Attributes:
    width: of a token, a multiple of 4 and of `heads`.
    depth: blocks.
    heads: of attention.
    patch: side of the squares of pixels that are a token.
    output_channels: of the output, 0 for as many as the input has.
    classes: how many labels there are, 0 for a network that is told none.
    interval: whether it is told a second time, such as how far a step goes.
    dropout: share of features left out in training.
    remat: whether training computes the inside of every block twice, rather than keep it.
    dtype: of the computation; parameters, normalisation and output are float32.
  """

  width: int = 128
  depth: int = 6
  heads: int = 4
  patch: int = 4
  output_channels: int = 0
  classes: int = 0
  interval: bool = False
  dropout: float = 0.0
  remat: bool = False
  dtype: Any = jnp.float32

  def embed_time(self, t: jax.Array) -> jax.Array:
    """() -> (width,)."""
    time = nn.Dense(self.width, dtype=self.dtype)(timestep_embedding(t, TIME_FEATURES))
    return nn.Dense(self.width, dtype=self.dtype)(nn.swish(time))

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
      ValueError: patches do not tile the image, or heads or sines do not divide the width.
    """
    height, width, colours = x.shape
    if height % self.patch or width % self.patch:
      raise ValueError(
        f'patches of {self.patch} do not tile a {height}x{width} image: choose network.patch to '
        'divide both, or resize the images'
      )
    check_width(self.width, self.heads)
    tokens = space_to_depth(x, self.patch)
    rows, columns, _ = tokens.shape
    places = grid_embedding(rows, columns, self.width)
    h = nn.Dense(self.width, dtype=self.dtype)(tokens) + jnp.asarray(places, self.dtype)
    h = h.reshape(rows * columns, self.width)

    condition = self.embed_time(t)
    if self.interval:
      condition = condition + self.embed_time(interval)
    if self.classes:
      known = jnp.where(label < 0, self.classes, label)  # the last row is for no label
      condition = condition + nn.Embed(self.classes + 1, self.width, dtype=self.dtype)(known)

    for _ in range(self.depth):
      block = Block(self.heads, self.dropout, self.dtype)
      h = call(block, self.remat, h, condition, training=training)

    told = nn.Dense(2 * self.width, kernel_init=zeros, dtype=self.dtype)(nn.swish(condition))
    h = modulated(h, *jnp.split(told, 2)).astype(jnp.float32)
    features = self.patch**2 * (self.output_channels or colours)
    h = nn.Dense(features, kernel_init=zeros)(h)
    return depth_to_space(h.reshape(rows, columns, features), self.patch)


class CausalTransformer(nn.Module):
  """Says of each of some patches, which have learned places, what those before it tell.

  What tells a `Transformer` the time is a vector here, the same for all.

  Attributes:
    features: numbers that are said of each; 0 at first.
    width: of a token, a multiple of 4 and of `heads`.
    depth: blocks.
    heads: of attention.
    remat: whether training computes the inside of every block twice, rather than keep it.
    dtype: of the computation; parameters, normalisation and output are float32.
  """

  features: int
  width: int = 128
  depth: int = 4
  heads: int = 4
  remat: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(N, D) -> (N, features).

    Raises:
      ValueError: heads do not divide the width.
    """
    check_width(self.width, self.heads)
    places = self.param('places', nn.initializers.normal(0.02), (len(x), self.width))
    condition = self.param('condition', nn.initializers.normal(1.0), (self.width,))
    before = jnp.pad(x, ((1, 0), (0, 0)))[:-1]
    h = nn.Dense(self.width, dtype=self.dtype)(before) + places.astype(self.dtype)
    for _ in range(self.depth):
      block = Block(self.heads, dtype=self.dtype, causal=True)
      h = call(block, self.remat, h, condition)
    h = modulated(h, jnp.zeros(self.width), jnp.zeros(self.width))
    return nn.Dense(self.features, kernel_init=zeros)(h)


Denoiser = Transformer
Conditioner = CausalTransformer
