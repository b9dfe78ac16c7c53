"""Pairs of pictures made of the data themselves: y an image, x what is left or made of it.

x is a pure function of y, so that an `Example` holds both, and as large as y.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Pair = Callable[[jax.Array], jax.Array]  # y (H, W, C) in [-1, 1] -> x (H, W, C) in [-1, 1]


def edges(image: jax.Array) -> jax.Array:
  """The size of the gradient: black, -1, where the image is flat, white from a slope of 1 on.

  By central differences, half of what the neighbours on either side differ by; edges are repeated.
  """
  padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode='edge')
  down = 0.5 * (padded[2:, 1:-1] - padded[:-2, 1:-1])
  right = 0.5 * (padded[1:-1, 2:] - padded[1:-1, :-2])
  return 2.0 * jnp.minimum(jnp.hypot(down, right), 1.0) - 1.0


def rotated(image: jax.Array) -> jax.Array:
  """A quarter turn to the left, of a square image."""
  return jnp.rot90(image)


def negative(image: jax.Array) -> jax.Array:
  """Black for white."""
  return -image


def half(image: jax.Array) -> jax.Array:
  """The upper half; black below."""
  return image.at[image.shape[0] // 2 :].set(-1.0)


PAIRS: dict[str, Pair] = {'edges': edges, 'rotated': rotated, 'negative': negative, 'half': half}


def find_pair(name: str, image_shape: tuple[int, int, int]) -> Pair:
  """The function that `data.pair` names, for images of this shape.

  Raises:
    ValueError: there is none of this name, or it does not keep the shape.
  """
  if name not in PAIRS:
    raise ValueError(
      f'data.pair={name!r}, and a model from picture to picture needs pairs: choose one of '
      f'{", ".join(PAIRS)}'
    )
  height, width, _ = image_shape
  if name == 'rotated' and height != width:
    raise ValueError(
      f"data.pair='rotated' turns a {height}x{width} image on its side: choose another pair, or "
      'set data.image_size for square images'
    )
  return PAIRS[name]
