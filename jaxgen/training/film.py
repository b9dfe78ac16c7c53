"""Frames of every figure in time, few enough that a long run does not grow."""

import math
from pathlib import Path

import numpy as np

from jaxgen.images import save_png

FOLDER = Path('figures') / 'film'
MOST = 20  # frames of a figure


def frames(workdir: Path) -> dict[str, dict[int, Path]]:
  """Figure -> step -> PNG file, in the order of the steps."""
  found: dict[str, dict[int, Path]] = {}
  for path in sorted((workdir / FOLDER).glob('*/*.png'), key=lambda path: (len(path.stem), path)):
    if path.stem.isdecimal():
      found.setdefault(path.parent.name, {})[int(path.stem)] = path
  return found


def keep(workdir: Path, name: str, step: int, sheet: np.ndarray) -> None:
  """Adds a frame, uint8 (H, W, C); of more than MOST, that goes which is missed the least.

  The first and the latest stay. Of the others those go whose neighbours are the nearest by the
  ratio of their steps, as models change less and less: what stays is spaced as 1, 2, 4, ... is.
  """
  save_png(workdir / FOLDER / name / f'{step}.png', sheet)
  known = frames(workdir)[name]
  while len(known) > MOST:
    steps = list(known)
    inner = range(1, len(steps) - 1)
    least = min(inner, key=lambda i: math.log((1 + steps[i + 1]) / (1 + steps[i - 1])))
    known.pop(steps[least]).unlink()


def take_back(workdir: Path, step: int) -> None:
  """Removes what was drawn after a step that a run resumes from."""
  for known in frames(workdir).values():
    for drawn, path in known.items():
      if drawn > step:
        path.unlink()
