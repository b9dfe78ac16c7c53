"""Sheets of given images, filled in and redrawn by a model that denoises.

The first line of each docstring says what is on it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgen.datasets.splits import Split, subset
from jaxgen.latents.pictures import BLANK, COLUMNS
from jaxgen.model import Model

DRAWINGS = 4  # of the same unknown part
STRENGTHS = 0.2, 0.4, 0.6, 0.8, 1.0  # parts of the sampler's steps


def some(model: Model, split: Split) -> tuple[np.ndarray, Any]:
  """A few images, and the labels that a conditional model is told of them."""
  rows = subset(len(split.images), COLUMNS)
  return split.images[rows], split.labels[rows] if model.objective.conditional else None


def repeated(values: Any, times: int) -> Any:
  """Each so often, one after another; None stays."""
  return None if values is None else np.repeat(values, times, axis=0)


def inpainting(model: Model, split: Split) -> np.ndarray:
  """Each row: a test image, the upper half that is known of it, and the lower half drawn anew."""
  shown, labels = some(model, split)
  known = np.zeros(shown.shape[1:3], bool)
  known[: len(known) // 2] = True
  drawn = model.inpaint(repeated(shown, DRAWINGS), known, label=repeated(labels, DRAWINGS))
  half = np.where(known[..., None], shown, np.uint8(BLANK))
  return np.concatenate(
    [shown[:, None], half[:, None], drawn.reshape(len(shown), DRAWINGS, *shown.shape[1:])], axis=1
  )


def redrawing(model: Model, split: Split) -> np.ndarray:
  """Each row: a test image, and what is drawn from it under more and more noise."""
  shown, labels = some(model, split)
  drawn = [model.edit(shown, strength, label=labels) for strength in STRENGTHS]
  return np.stack([shown, *drawn], axis=1)


# What a model's objective must have for each.
SHEETS: dict[str, Callable[[Model, Split], np.ndarray]] = {
  'inpaint': inpainting,
  'edit': redrawing,
}


def drawn(model: Model, split: Split) -> dict[str, np.ndarray]:
  """The sheets that a model can draw, by their names: uint8 (rows, columns, H, W, C)."""
  able = [sheet for name, sheet in SHEETS.items() if getattr(model.objective, name)]
  return {sheet.__name__: sheet(model, split) for sheet in able}
