"""Pixels survive every way between files, batches and models."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgen import images

LEVELS = np.arange(256, dtype=np.uint8)


def test_every_level_survives_the_round_trip() -> None:
  there = images.from_uint8(jnp.asarray(LEVELS))
  assert there.dtype == jnp.float32
  np.testing.assert_array_equal(images.to_uint8(there), LEVELS)


def test_range_ends_and_spacing() -> None:
  x = np.asarray(images.from_uint8(jnp.asarray(LEVELS)), np.float64)
  assert x[0] == -1.0
  assert x[255] == 1.0
  np.testing.assert_allclose(np.diff(x), 2 / 255, rtol=1e-4)


def test_to_uint8_clips_and_rounds_to_the_nearest_level() -> None:
  x = jnp.array([-7.0, -1.0 + 0.49 * 2 / 255, -1.0 + 0.51 * 2 / 255, 1.0 - 0.51 * 2 / 255, 3.0])
  np.testing.assert_array_equal(images.to_uint8(x), [0, 0, 1, 254, 255])


@pytest.mark.parametrize(('count', 'columns', 'border'), [(1, None, 1), (7, 3, 2), (10, None, 0)])
def test_grid_holds_every_picture_in_reading_order(
  count: int, columns: int | None, border: int
) -> None:
  pictures = np.random.default_rng(0).integers(0, 256, (count, 3, 5, 3), np.uint8)
  sheet = images.grid(pictures, columns, border)
  columns = columns or int(np.ceil(np.sqrt(count)))
  seen = np.zeros(sheet.shape[:2], bool)
  for i, picture in enumerate(pictures):
    row, column = divmod(i, columns)
    place = np.s_[
      border + row * (3 + border) : border + row * (3 + border) + 3,
      border + column * (5 + border) : border + column * (5 + border) + 5,
    ]
    np.testing.assert_array_equal(sheet[place], picture)
    seen[place] = True
  assert seen.sum() == count * 15  # pictures do not overlap
  assert (sheet[~seen] == 128).all()


def test_enlarge_repeats_pixels_by_a_whole_factor() -> None:
  picture = np.random.default_rng(1).integers(0, 256, (2, 3, 1), np.uint8)
  large = images.enlarge(picture, width=13)
  assert large.shape == (8, 12, 1)
  np.testing.assert_array_equal(large[::4, ::4], picture)
  np.testing.assert_array_equal(large[3::4, 3::4], picture)
  np.testing.assert_array_equal(images.enlarge(picture, width=1), picture)


@pytest.mark.parametrize('channels', [1, 3])
def test_png_round_trip(tmp_path: Path, channels: int) -> None:
  picture = np.random.default_rng(2).integers(0, 256, (6, 4, channels), np.uint8)
  path = tmp_path / 'new' / 'picture.png'
  images.save_png(path, picture)
  with Image.open(path) as file:
    np.testing.assert_array_equal(np.asarray(file).reshape(picture.shape), picture)
  assert list(path.parent.iterdir()) == [path]  # nothing partial is left


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
  path = tmp_path / 'file'
  images.write_whole(path, b'something long')
  images.write_whole(path, b'short')
  assert path.read_bytes() == b'short'


@pytest.mark.parametrize(('height', 'width'), [(4, 10), (10, 4), (7, 4)])
def test_fit_crops_the_centre(height: int, width: int) -> None:
  """Of a picture whose shorter side already fits, only the crop is left to do."""
  picture = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
  top, left = (height - 4) // 2, (width - 4) // 2
  result = images.fit(Image.fromarray(picture), 4, 3)
  np.testing.assert_array_equal(result, picture[top : top + 4, left : left + 4])


def test_fit_scales_the_shorter_side() -> None:
  """Bars of equal width: scaled by half and cropped, the middle bar's centre stays the centre."""
  bars = np.repeat(np.array([0, 200, 50], np.uint8), 16)[None].repeat(16, axis=0)
  result = images.fit(Image.fromarray(bars), 8, 1)
  assert result.shape == (8, 8, 1)
  np.testing.assert_allclose(result[:, 2:6], 200, atol=2)  # LANCZOS rings by a level


def test_fit_leaves_the_size_and_chooses_colours() -> None:
  grey = Image.fromarray(np.full((3, 5), 77, np.uint8))
  colour = Image.fromarray(np.full((3, 5, 3), (255, 0, 0), np.uint8))
  np.testing.assert_array_equal(images.fit(grey, 0, 0), np.full((3, 5, 1), 77))
  np.testing.assert_array_equal(images.fit(grey, 0, 3), np.full((3, 5, 3), 77))
  np.testing.assert_array_equal(images.fit(colour, 0, 0), np.full((3, 5, 3), (255, 0, 0)))
  np.testing.assert_array_equal(images.fit(colour, 0, 1), np.full((3, 5, 1), 76))  # ITU-R 601 luma
