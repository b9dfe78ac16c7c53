"""A run's figures in time as animated pictures."""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from jaxgen.errors import UserError
from jaxgen.training.film import frames

PACE, REST = 400, 2500  # milliseconds of each frame, and of the last
LINE, SIZE = 16, 11  # below a frame, and of the letters there, in pixels
INK, PAPER = '#e6e6e8', '#202227'
SIDE, LEAST = 360, 90  # pixels of the longer side, as near as whole factors come, and of the width


class Film(NamedTuple):
  """One figure in time: WebP files, animated and of its last frame alone."""

  name: str
  steps: list[int]
  moving: bytes
  still: bytes


def films(workdir: Path) -> list[Film]:
  """Of each figure that was drawn at two steps or more."""
  return [film(name, known) for name, known in frames(workdir).items() if len(known) > 1]


def film(name: str, known: dict[int, Path]) -> Film:
  """Of a figure's files by their steps.

  Raises:
    UserError: one is no picture.
  """
  read = {step: picture(path) for step, path in known.items()}
  size = list(read.values())[-1].size  # an earlier one of another was drawn by another sampler
  shown = {step: titled(one, f'step {step:,}') for step, one in read.items() if one.size == size}
  pictures = list(shown.values())
  pace = [PACE] * (len(pictures) - 1) + [REST]
  return Film(name, list(shown), webp(pictures, pace), webp(pictures[-1:], pace[-1:]))


def picture(path: Path) -> Image.Image:
  """A PNG file's."""
  try:
    with Image.open(path) as file:
      return file.convert('RGB')
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error}; remove it') from error


def titled(frame: Image.Image, words: str) -> Image.Image:
  """A frame, enlarged by a whole factor, with a line below it."""
  factor = max(1, round(SIDE / max(frame.size)))
  width, height = frame.width * factor, frame.height * factor
  result = Image.new('RGB', (max(width, LEAST), height + LINE), PAPER)
  result.paste(frame.resize((width, height), Image.Resampling.NEAREST))
  ImageDraw.Draw(result).text((4, height + 1), words, INK, font(SIZE))
  return result


def webp(pictures: list[Image.Image], pace: list[int]) -> bytes:
  """Without loss, as blur would be taken for the model's."""
  buffer = io.BytesIO()
  more = {'append_images': pictures[1:], 'duration': pace, 'loop': 0, 'save_all': True}
  pictures[0].save(buffer, format='webp', lossless=True, method=4, **more)
  return buffer.getvalue()


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
  """Of so many pixels, the same on every machine."""
  file = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'
  return ImageFont.truetype(file, size)
