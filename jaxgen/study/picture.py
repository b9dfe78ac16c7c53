"""What a study has found -> one picture: samples of every group with its name and first number."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxgen.evaluation.measure import NEIGHBOURS
from jaxgen.images import as_picture, enlarge, grid
from jaxgen.report.film import font
from jaxgen.report.runs import Run
from jaxgen.report.summaries import Summary
from jaxgen.report.tables import Row
from jaxgen.study.results import Result

WIDTH = 280  # of a group's samples, in pixels, as near as whole factors come
PAGE = 960  # of all groups side by side, or what one of them needs
GAP, LINE, SIZE = 16, 22, 13  # between groups, of a line of text, of its letters
INK, QUIET, PAPER = '#1c1c1e', '#62646a', '#ffffff'
PALETTES = 256, 128, 64, 32, 16  # of the file: the first that stays below
LARGEST = 300_000  # bytes


class Strip(NamedTuple):
  """What the picture shows of a group: some samples in a row, uint8 (H, W, C), and two words."""

  name: str
  number: str
  samples: np.ndarray


def picture(result: Result) -> bytes | None:
  """A PNG file, None where no group has samples yet."""
  rows = result.rows[result.study.config.numbers[0]]
  shown = {group: columns for group, runs in result.runs.items() if (columns := sheet(runs))}
  if not shown:
    return None
  places = {group: place for place, group in enumerate(result.runs)}
  strips = [
    strip(caption(result, group), number(rows, places[group]), samples)
    for group, (samples, _) in shown.items()
  ]
  # Of each group another one: the neighbours of a poor model's samples may be all alike.
  near = [column for _, column in shown.values()]
  alike = [column for column in near if column.shape == near[0].shape]
  real = np.stack([alike[i % len(alike)][i] for i in range(len(near[0]))])
  floor = next((row.real for row in rows if row.real.value is not None), Summary())
  strips.append(strip('real images', floor.text, real))
  said = ', '.join(dict.fromkeys(row.name for row in rows)) or result.study.config.numbers[0]
  return small(wall(f'{result.study.config.title}. {said}', strips))


def sheet(runs: list[Run]) -> tuple[np.ndarray, np.ndarray] | None:
  """The first run's samples as they were scored, and the training images nearest to them.

  Both uint8 (N, H, W, C); None where no run has been scored.
  """
  for run in runs:
    if 'neighbours' in run.pictures and run.image_shape:
      return columns(run.pictures['neighbours'], run.image_shape)
  return None


def columns(content: bytes, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
  """The first two columns of the sheet of neighbours that an evaluation draws."""
  height, width, channels = shape
  with Image.open(io.BytesIO(content)) as file:
    pixels = np.asarray(file).reshape(file.height, file.width, channels)
  factor = max(1, pixels.shape[1] // ((1 + NEIGHBOURS) * (width + 1) + 1))
  pixels = pixels[::factor, ::factor]
  tops = range(1, pixels.shape[0] - height, height + 1)
  samples, near = (
    np.stack([pixels[top : top + height, left : left + width] for top in tops])
    for left in (1, width + 2)
  )
  return samples, near


def caption(result: Result, group: str) -> str:
  """A group's name without the axes whose values are words that no other axis has here."""
  point = result.groups[group][0].point
  for axis, value in point.items():
    if isinstance(value, str) and list(point.values()).count(value) == 1:
      group = group.replace(f'{axis}={value}', value)
  return group


def number(rows: list[Row], place: int) -> str:
  """What the group at this place has of a number, under the first protocol that measured it."""
  return next(
    (row.summaries[place].text for row in rows if row.summaries[place].value is not None), ''
  )


def strip(name: str, number: str, samples: np.ndarray) -> Strip:
  """Samples, uint8 (N, H, W, C), in a row."""
  return Strip(name, number, enlarge(grid(samples, columns=len(samples)), WIDTH))


def wall(title: str, strips: list[Strip]) -> Image.Image:
  """All strips below a title, in reading order; numbers are below names, or beside if all fit."""
  letters = font(SIZE)
  height, width = (max(s.samples.shape[axis] for s in strips) for axis in (0, 1))
  across = min(len(strips), max(1, (PAGE - GAP) // (width + GAP)))
  down = -(-len(strips) // across)
  beside = all(
    letters.getlength(s.name) + letters.getlength(s.number) + GAP <= width for s in strips
  )
  words = LINE if beside else 2 * LINE
  step = words + height + GAP
  size = max(across * (width + GAP) + GAP, WIDTH), GAP + LINE + down * step
  canvas = Image.new('RGB', size, PAPER)
  draw = ImageDraw.Draw(canvas)
  draw.text((GAP, GAP // 2), shorten(title, letters, size[0] - 2 * GAP), INK, letters)
  for place, one in enumerate(strips):
    left, top = GAP + place % across * (width + GAP), GAP + LINE + place // across * step
    draw.text((left, top), shorten(one.name, letters, width), INK, letters)
    end = left + width - letters.getlength(one.number)
    draw.text((end, top) if beside else (left, top + LINE), one.number, QUIET, letters)
    canvas.paste(as_picture(one.samples), (left, top + words))
  return canvas


def shorten(text: str, letters: ImageFont.FreeTypeFont, width: float) -> str:
  """The beginning of a text that is at most so wide."""
  if letters.getlength(text) <= width:
    return text
  while text and letters.getlength(f'{text}…') > width:
    text = text[:-1]
  return f'{text}…'


def small(canvas: Image.Image, largest: int = LARGEST) -> bytes:
  """A PNG file in as many of PALETTES as keep it below so many bytes, or in the fewest."""
  content = b''
  for count in PALETTES:
    buffer = io.BytesIO()
    flat = canvas.quantize(count, dither=Image.Dither.NONE)
    flat.save(buffer, format='png', optimize=True)
    content = buffer.getvalue()
    if len(content) <= largest:
      break
  return content
