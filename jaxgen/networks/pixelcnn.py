"""The gated PixelCNN: what is said of each pixel by those before it (van den Oord et al. 2016).

Two stacks of convolutions look at an image: a vertical one, at the rows above, and a horizontal
one, at the pixels to the left, which is told at every layer what the vertical one found. No pixel
of the past within their reach is out of sight, as some are behind masked kernels in one stack
(sec. 2.3). The stacks run apart: while a row is drawn, what those above say of it is known.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def neighbours(x: jax.Array, rows: Sequence[int], columns: Sequence[int]) -> jax.Array:
  """(H, W, C) -> (H, W, N C): of each pixel those at N offsets; beyond the border are zeros.

  Args:
    x: (H, W, C).
    rows: offsets downwards, none of them positive.
    columns: offsets to the right.
  """
  height, width, _ = x.shape
  top, left, right = -min(rows), max(0, -min(columns)), max(0, *columns)
  padded = jnp.pad(x, ((top, 0), (left, right), (0, 0)))
  parts = [
    padded[top + i : top + i + height, left + j : left + j + width] for i in rows for j in columns
  ]
  return jnp.concatenate(parts, axis=-1)


def gated(x: jax.Array) -> jax.Array:
  """(..., 2 C) -> (..., C): tanh of one half, let through by the sigmoid of the other (eq. 2)."""
  value, gate = jnp.split(x, 2, axis=-1)
  return nn.tanh(value) * nn.sigmoid(gate)


class Vertical(nn.Module):
  """The stack that looks at the rows above. Its attributes are those of `PixelCNN`."""

  width: int
  depth: int
  reach: int
  classes: int
  dtype: Any

  @nn.compact
  def __call__(self, image: jax.Array, label: jax.Array) -> jax.Array:
    """(H, W, C), () -> (H, W, depth, 2 width), every layer's before its gate."""
    x, found = image.astype(self.dtype), []
    aside = range(-self.reach, self.reach + 1)
    for layer in range(self.depth):
      seen = (
        neighbours(x, (-1, 0), (-1, 0, 1)) if layer else neighbours(x, aside[: self.reach], aside)
      )
      h = nn.Dense(2 * self.width, dtype=self.dtype)(seen)
      if self.classes:
        told = nn.Embed(self.classes, 2 * self.width, dtype=self.dtype)(label)
        h = h + told[None, None]  # eq. 4
      found.append(h)
      x = gated(h)
    return jnp.stack(found, axis=2)


class Horizontal(nn.Module):
  """The stack that looks to the left, with residual connections (fig. 2)."""

  features: int
  width: int
  depth: int
  reach: int
  dtype: Any

  @nn.compact
  def __call__(self, rows: jax.Array, above: jax.Array) -> jax.Array:
    """Rows (H, W, C) of an image and what those above say (H, W, depth, 2 width)
    -> (H, W, features).
    """
    x = rows.astype(self.dtype)
    for layer in range(self.depth):
      seen = neighbours(x, (0,), (-1, 0) if layer else range(-self.reach, 0))
      h = nn.Dense(2 * self.width, dtype=self.dtype)(seen)
      h = h + nn.Dense(2 * self.width, dtype=self.dtype)(above[:, :, layer])
      h = nn.Dense(self.width, dtype=self.dtype)(gated(h))
      x = x + h if layer else h  # the pixel itself is no feature of its past
    x = nn.relu(nn.Dense(self.width, dtype=self.dtype)(nn.relu(x)))
    return nn.Dense(self.features, kernel_init=nn.initializers.zeros)(x.astype(jnp.float32))


class PixelCNN(nn.Module):
  """Image -> numbers for each pixel that depend on the pixels before it alone, in reading order.

  Attributes:
    features: how many numbers.
    width: channels of both stacks.
    depth: layers of both stacks, each of which reaches a pixel further.
    reach: of the first layer, in pixels up and to both sides.
    classes: how many labels there are, 0 for a network that is told none.
    dtype: of the computation; parameters and output are float32.
  """

  features: int
  width: int = 64
  depth: int = 8
  reach: int = 3
  classes: int = 0
  dtype: Any = jnp.float32

  def setup(self) -> None:
    shape = self.width, self.depth, self.reach
    self.vertical = Vertical(*shape, self.classes, self.dtype)
    self.horizontal = Horizontal(self.features, *shape, self.dtype)

  def above(self, image: jax.Array, label: jax.Array) -> jax.Array:
    """(H, W, C), () -> (H, W, depth, 2 width): what the rows above each row say of it."""
    return self.vertical(image, label)

  def along(self, rows: jax.Array, above: jax.Array) -> jax.Array:
    """Some rows (H, W, C) and what those above say of them -> (H, W, features)."""
    return self.horizontal(rows, above)

  def __call__(self, image: jax.Array, label: jax.Array | int = -1) -> jax.Array:
    """(H, W, C), () its class, of no effect where there are none -> (H, W, features)."""
    return self.along(image, self.above(image, label))


Predictor = PixelCNN
