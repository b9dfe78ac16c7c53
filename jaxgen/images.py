"""The one place that knows pixel ranges: uint8 in files and batches, [-1, 1] in the models."""

import io
import math
import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image as PillowImage

from jaxgen.errors import UserError


def from_uint8(images: jax.Array) -> jax.Array:
  """uint8 0..255 -> float32 in [-1, 1], any shape."""
  return images.astype(jnp.float32) / 127.5 - 1.0


def binarized(images: jax.Array, key: jax.Array) -> jax.Array:
  """uint8 0..255 -> float32, 1 with a probability of pixel / 255 and else -1; any shape."""
  return jnp.where(jax.random.uniform(key, images.shape) < images / 255.0, 1.0, -1.0)


def moved(image: jax.Array, key: jax.Array, reach: int) -> jax.Array:
  """An image (H, W, C) by up to `reach` pixels along each axis, its edge repeated."""
  padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode='edge')
  row, column = jax.random.randint(key, (2,), 0, 2 * reach + 1)
  return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def reader(
  binarize: str = 'none', flip: bool = False, crop: int = 0
) -> Callable[[jax.Array, jax.Array], jax.Array]:
  """How models see pixels: uint8 (H, W, C), a key of this look at them -> float32 in [-1, 1].

  Args:
    binarize: as in config.data.binarize. With 'dynamic' the key decides which pixels are white.
    flip: whether the key decides if left and right are exchanged.
    crop: pixels by which it moves the image at most.
  """
  see = binarized if binarize == 'dynamic' else lambda image, key: from_uint8(image)

  def augmented(image: jax.Array, key: jax.Array) -> jax.Array:
    flip_key, crop_key = jax.random.split(jax.random.fold_in(key, 1))
    if flip:
      image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    return see(moved(image, crop_key, crop) if crop else image, key)

  return augmented if flip or crop else see


def to_uint8(images: jax.Array) -> jax.Array:
  """Float in [-1, 1] -> uint8 0..255, rounded, clipped at both ends; any shape."""
  return jnp.round(jnp.clip((images + 1.0) * 127.5, 0.0, 255.0)).astype(jnp.uint8)


def like(pictures: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
  """Pictures, if they are uint8 (N, *shape) and there are any.

  Raises:
    UserError: they are not.
  """
  found = np.asarray(pictures)
  if found.dtype != np.uint8 or found.shape[1:] != shape or not len(found):
    raise UserError(
      f'pictures are {found.dtype} {found.shape}; this model takes uint8 (N, {shape[0]}, '
      f'{shape[1]}, {shape[2]})'
    )
  return found


def grid(images: np.ndarray, columns: int | None = None, border: int = 1) -> np.ndarray:
  """Lays pictures out in rows, in reading order.

  Args:
    images: uint8 (N, H, W, C).
    columns: pictures in a row; a square by default.
    border: width in pixels of the grey line around each picture.

  Returns:
    uint8 (H', W', C).
  """
  count, height, width, channels = images.shape
  columns = columns or math.ceil(math.sqrt(count))
  rows = math.ceil(count / columns)
  cell_height, cell_width = height + border, width + border
  sheet = np.full(
    (rows * cell_height + border, columns * cell_width + border, channels), 128, np.uint8
  )
  for i, picture in enumerate(images):
    top, left = (i // columns) * cell_height + border, (i % columns) * cell_width + border
    sheet[top : top + height, left : left + width] = picture
  return sheet


def enlarge(picture: np.ndarray, width: int = 640) -> np.ndarray:
  """Repeats pixels by the whole factor that brings (H, W, C) closest to `width`, at least once."""
  factor = max(1, round(width / picture.shape[1]))
  return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def show(images: np.ndarray, columns: int | None = None) -> PillowImage.Image:
  """uint8 (N, H, W, C) in rows, as `grid` lays them out: one picture, which a notebook shows."""
  return as_picture(enlarge(grid(np.asarray(images), columns)))


def as_picture(picture: np.ndarray) -> PillowImage.Image:
  """uint8 (H, W, 1 or 3) as Pillow has it."""
  return PillowImage.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)


def as_png(picture: np.ndarray) -> bytes:
  """uint8 (H, W, 1 or 3) -> the bytes of a PNG file."""
  buffer = io.BytesIO()
  as_picture(picture).save(buffer, format='png')
  return buffer.getvalue()


def save_png(path: Path, picture: np.ndarray) -> None:
  """Writes uint8 (H, W, 1 or 3) as a PNG file, whole or not at all."""
  write_whole(path, as_png(picture))


def write_whole(path: Path, content: bytes) -> None:
  """Writes beside `path` and renames, so that a reader or a crash never sees half a file.

  For one writer at a time, who takes over what a killed one has left.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'.{path.name}.partial')
  try:
    partial.write_bytes(content)
    os.replace(partial, path)
  except OSError:
    partial.unlink(missing_ok=True)
    raise


def fit(picture: PillowImage.Image, size: int, channels: int) -> np.ndarray:
  """Scales the shorter side to `size`, crops the centre square, converts the colours.

  Args:
    picture: any PIL image.
    size: side of the result in pixels; 0 leaves the picture's own size.
    channels: 1 for grey, 3 for colour; 0 for grey where the file is grey, else colour.

  Returns:
    uint8 (H, W, C).
  """
  if picture.mode.startswith('I'):  # 16 bits a pixel, which Pillow would clip at 255
    picture = PillowImage.fromarray((np.asarray(picture) // 257).astype(np.uint8))
  channels = channels or (1 if picture.mode in ('1', 'L', 'LA') else 3)
  picture = picture.convert('L' if channels == 1 else 'RGB')
  if size:
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), PillowImage.Resampling.LANCZOS)
    left, top = (width - size) // 2, (height - size) // 2
    picture = picture.crop((left, top, left + size, top + size))
  return np.asarray(picture, np.uint8).reshape(picture.height, picture.width, channels)
