"""Where a run's numbers and pictures go besides its own files: TensorBoard, and a tracker if asked.

A file here, or a module of one's own ('mypackage.mytracker'), has a class `Tracker` as below, which
`config.tracker` names. What it needs is imported when it is asked for, and not before.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxgen.errors import find_module


class Tracker(Protocol):
  """A run elsewhere."""

  def __init__(self, workdir: Path, fields: dict[str, Any], step: int) -> None:
    """Begins, or goes on after a step, with the config's fields by their dotted names.

    Raises:
      UserError: it cannot.
    """

  def text(self, name: str, text: str, step: int) -> None:
    """A sentence."""

  def scalars(self, values: dict[str, float], step: int) -> None:
    """A point of each curve."""

  def image(self, name: str, picture: np.ndarray, step: int) -> None:
    """uint8 (H, W, C)."""

  def close(self, finished: bool) -> None:
    """The end, of a run that was finished, or stopped before."""


def find(name: str) -> type[Tracker]:
  """The tracker of this name.

  Raises:
    UserError: there is none.
  """
  return find_module(__name__, name, 'Tracker').Tracker
