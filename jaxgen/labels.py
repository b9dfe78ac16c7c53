"""Labels as users give them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgen.errors import UserError

Labels = int | Sequence[int] | None  # one for all, several in turn, or to be drawn


def asked(label: Labels) -> list[int]:
  """The labels that are asked for, none of them where they are to be drawn."""
  return [] if label is None else whole_numbers(label).tolist()


def whole_numbers(labels: Any) -> np.ndarray:
  """Labels as an array (N,).

  Raises:
    UserError: they are none.
  """
  found = np.atleast_1d(labels)
  if found.dtype.kind not in 'iu' or found.ndim != 1:
    raise UserError(f'label={labels!r}: classes are whole numbers, one or several')
  return found
