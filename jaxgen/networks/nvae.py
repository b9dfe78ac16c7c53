"""The two towers of NVAE (Vahdat & Kautz 2020, sec. 3.1; figs. 2 and 3), without batch statistics.

The way up makes features of an image at every scale. The way down begins with a learned image and
goes back through the scales; at each it meets a few groups of latents, one after the other: their
prior is seen in its state alone, their posterior in the features too, and what they are enters the
state. Channels double at each half of the sides. In what this is not the paper:

- Normalisation is over an image's groups of channels, where the paper's, over a batch, makes an
  image's bound depend on the others of its batch. So no statistics have to be set for sampling.
- Each branch of a cell begins at zero, not at a tenth of what its last layer says, and ends without
  a normalisation. Scales are changed by matrices of 2x2 pixels, without cells of their own, and as
  many cells as before a group also follow the last one.
- Latents are added to the state through a matrix; in the paper both are multiplied by one. Features
  and state are normalised before they are read, and means are bounded in units of the prior's
  deviation. At first every prior is N(0, I).
- Weights have no norm of their own and no spectral regularisation, and posteriors no flows.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.layers.attention import SqueezeAndExcitation
from jaxgen.layers.convolution import (
  Convolution,
  Initializer,
  depth_to_space,
  space_to_depth,
)
from jaxgen.layers.depthwise import DepthwiseConvolution
from jaxgen.networks.unet import GroupNorm, PixelDense

BOUND = 5.0  # of means and of log deviations
BLACK = -1.0
zeros = nn.initializers.zeros


class EncoderCell(nn.Module):
  """x + excited(conv(swish(norm(conv(swish(norm(x))))))), of the way up (fig. 3b).

  Attributes:
    dtype: of the computation.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    layer = partial(Convolution, x.shape[-1], dtype=self.dtype)
    h = layer()(nn.swish(GroupNorm(self.dtype)(x)))
    h = layer(kernel_init=zeros)(nn.swish(GroupNorm(self.dtype)(h)))
    return x + SqueezeAndExcitation(self.dtype)(h)


class GenerativeCell(nn.Module):
  """x + excited(project(swish(norm(depthwise(swish(norm(expand(norm(x)))))))) (fig. 3a).

  A 5x5 kernel sees far, and as one for each channel it costs little, so that channels can be many.

  Attributes:
    expansion: channels within for each of x.
    dtype: of the computation.
  """

  expansion: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    features, linear = x.shape[-1], {'use_bias': False, 'dtype': self.dtype}
    wide = self.expansion * features
    h = PixelDense(wide, **linear)(GroupNorm(self.dtype)(x))
    h = DepthwiseConvolution(5, self.dtype)(nn.swish(GroupNorm(self.dtype)(h)))
    h = PixelDense(features, kernel_init=zeros, **linear)(nn.swish(GroupNorm(self.dtype)(h)))
    return x + SqueezeAndExcitation(self.dtype)(h)


class Gaussian(nn.Module):
  """Mean and log variance of the latents at each place.

  Attributes:
    latent: how many there are at a place.
    side: of the square of places whose features they are seen in.
    kernel_init: of the layer that sees them.
  """

  latent: int
  side: int
  kernel_init: Initializer = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(H, W, C) -> (H, W, latent) twice, in float32."""
    layer = Convolution(2 * self.latent, side=self.side, kernel_init=self.kernel_init)
    h = BOUND * jnp.tanh(layer(nn.swish(GroupNorm()(x))) / BOUND)
    mean, log_deviation = jnp.split(h, 2, axis=-1)
    return mean, 2.0 * log_deviation


class Group(nn.Module):
  """Latents z = m + s e at one scale, e of N(0, I) or of a posterior, and the state they leave.

  Attributes:
    latent: how many there are at a place.
    has_prior: whether m and s are seen in the state, and not 0 and 1.
    dtype: of the computation of the state.
  """

  latent: int
  has_prior: bool
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, state: jax.Array, noise: jax.Array, features: jax.Array | None
  ) -> tuple[jax.Array, ...]:
    """State and features (H, W, C), noise (H, W, latent) -> state, e, its mean and log variance."""
    into_state = partial(PixelDense, state.shape[-1], dtype=self.dtype)
    mean = log_variance = jnp.zeros_like(noise)
    if features is not None:
      seen = features + into_state(name='seen')(state)
      mean, log_variance = Gaussian(self.latent, side=3, name='posterior')(seen)
    e = z = mean + jnp.exp(0.5 * log_variance) * noise
    if self.has_prior:
      m, log_square = Gaussian(self.latent, side=1, kernel_init=zeros, name='prior')(state)
      z = m + jnp.exp(0.5 * log_square) * e
    return state + into_state(name='latents')(z), e, mean, log_variance


class Tower(nn.Module, kw_only=True):
  """What the ways up and down share.

  Attributes:
    channels: of images as the network takes them; twice as many at each half of their sides.
    stem: how often they are halved before the finest scale that has latents.
    patch: side of the squares of pixels that the network takes as one; in the paper 1.
    padding: rows and columns of black on each side of an image, so that it can be halved.
    blocks: residual cells before each group, and at each scale of the stem.
    expansion: channels within a cell of the way down for each of its state.
    dtype: of the computation; parameters, normalisation, Gaussians and output are float32.
  """

  channels: int = 32
  stem: int = 2
  patch: int = 1
  padding: int = 0
  blocks: int = 2
  expansion: int = 6
  dtype: Any = jnp.float32

  def grid(self, image_shape: tuple[int, ...], halvings: int) -> tuple[int, int, int]:
    """Height, width and channels of a state after so many halvings.

    Raises:
      ValueError: images that cannot be halved so often.
    """
    height, width = (side + 2 * self.padding for side in image_shape[:2])
    unit = self.patch * 2**halvings
    if height % unit or width % unit:
      raise ValueError(
        f'a {height}x{width} image, of which network.padding={self.padding} each side, cannot be '
        f'halved {halvings} times after network.patch={self.patch}: let {unit} divide its sides by '
        'network.padding or data.image_size, or choose a smaller network.patch or network.stem or '
        'fewer objective.groups'
      )
    return height // unit, width // unit, self.channels << halvings

  def features(self, x: jax.Array) -> jax.Array:
    """Residual cells of the way up."""
    for _ in range(self.blocks):
      x = EncoderCell(self.dtype)(x)
    return x

  def halved(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H / 2, W / 2, 2 C)."""
    return PixelDense(2 * x.shape[-1], dtype=self.dtype)(space_to_depth(x, 2))

  def generated(self, x: jax.Array) -> jax.Array:
    """Residual cells of the way down."""
    for _ in range(self.blocks):
      x = GenerativeCell(self.expansion, self.dtype)(x)
    return x

  def doubled(self, x: jax.Array, features: int) -> jax.Array:
    """(H, W, C) -> (2 H, 2 W, features)."""
    return depth_to_space(PixelDense(4 * features, dtype=self.dtype)(x), 2)


class BottomUp(Tower):
  """Image -> features for each group of latents.

  Attributes:
    groups: how many there are at each scale, from the coarsest.
  """

  groups: tuple[int, ...]

  @nn.compact
  def __call__(self, image: jax.Array) -> tuple[jax.Array, ...]:
    """(H, W, C) -> (h, w, c) of each group, from the top down."""
    self.grid(image.shape, self.stem + len(self.groups) - 1)
    edge = (self.padding, self.padding)
    x = space_to_depth(jnp.pad(image, (edge, edge, (0, 0)), constant_values=BLACK), self.patch)
    x = Convolution(self.channels, dtype=self.dtype)(x)
    for _ in range(self.stem):
      x = self.halved(self.features(x))
    found: list[jax.Array] = []
    for groups in reversed(self.groups):
      x = self.halved(x) if found else x
      for _ in range(groups):
        x = self.features(x)
        found.append(x)
    return tuple(reversed(found))


class TopDown(Tower):
  """A code of all groups -> a state that the image can be seen in.

  Attributes:
    image_shape: (H, W, C) of the images.
    groups: of latents, how many there are at each scale, from the coarsest.
    latent: latents of a group at each place.
  """

  image_shape: tuple[int, int, int]
  groups: tuple[int, ...]
  latent: int

  @property
  def grids(self) -> list[tuple[int, int, int]]:
    """The shape of the state at each group, from the top down."""
    scales = range(self.stem + len(self.groups) - 1, self.stem - 1, -1)
    pairs = zip(scales, self.groups, strict=True)
    return [self.grid(self.image_shape, n) for n, groups in pairs for _ in range(groups)]

  @property
  def sizes(self) -> tuple[int, ...]:
    """How many numbers each group has."""
    return tuple(height * width * self.latent for height, width, _ in self.grids)

  @nn.compact
  def __call__(
    self, noise: jax.Array, features: tuple[jax.Array, ...] | None = None
  ) -> tuple[jax.Array, ...]:
    """The way down.

    Args:
      noise: (codes,), of N(0, I) for each latent.
      features: of an image, for each group; None for the prior, whose e is the noise.

    Returns:
      The last state (h, w, c), e, and mean and log variance of its posterior, (codes,) each.
    """
    grids, found = self.grids, []
    noises = jnp.split(noise, np.cumsum(self.sizes)[:-1])
    state = self.param('start', nn.initializers.normal(1.0), grids[0]).astype(self.dtype)
    for layer, (height, width, channels) in enumerate(grids):
      if layer:
        state = state if channels == state.shape[-1] else self.doubled(state, channels)
        state = self.generated(state)
      here = noises[layer].reshape(height, width, self.latent)
      seen = features[layer] if features else None
      state, *law = Group(self.latent, layer > 0, self.dtype)(state, here, seen)
      found.append([array.ravel() for array in law])
    return state, *map(jnp.concatenate, zip(*found, strict=True))


class GridDecoder(Tower):
  """The last state -> image, without bounds.

  Attributes:
    image_shape: (H, W, C) of the output.
  """

  image_shape: tuple[int, int, int]

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    """(h, w, c) -> (H, W, C)."""
    x = self.generated(z)
    for halvings in reversed(range(self.stem)):
      x = self.generated(self.doubled(x, self.channels << halvings))
    height, width, colours = self.image_shape
    x = Convolution(self.patch**2 * colours)(nn.swish(GroupNorm()(x)))
    edge = self.padding
    return depth_to_space(x, self.patch)[edge : edge + height, edge : edge + width]
