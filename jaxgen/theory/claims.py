"""What a claim is: rows of a prediction against a measurement, a file of experiments/theory each.

A module there has a docstring, whose first line is the title and whose rest states the claim with
its source, and a function `claim(full) -> Claim`. A prediction is a formula; it is never computed
by the code that measures.
"""

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax

from jaxgen.errors import UserError, find_module, offered

PACKAGE = 'experiments.theory'
# Standard errors by which a measurement may miss: one in 16,000 does so by chance, and of those
# whose error is itself taken from 6 or 24 repetitions one in 100 or 1,800.
ERRORS = 4.0


class Row(NamedTuple):
  """One number of theory and the one that was measured.

  Attributes:
    quantity: what it is, with its unit.
    predicted: by the theory.
    measured: by a computation or a simulation.
    error: standard error of the measurement, 0 of one without randomness.
    tolerance: by how much else they may differ: rounding, or what the note says.
    note: what the theory leaves out.
    relation: '=', or '≤' and '≥' where the prediction only bounds what is measured.
  """

  quantity: str
  predicted: float
  measured: float
  error: float = 0.0
  tolerance: float = 0.0
  note: str = ''
  relation: str = '='

  @property
  def agrees(self) -> bool:
    """Whether the measurement lies where it must, within its errors; NaN does not."""
    excess, room = self.measured - self.predicted, ERRORS * self.error + self.tolerance
    below = self.relation != '≥' or excess >= -room
    above = self.relation != '≤' or excess <= room
    both = self.relation != '=' or abs(excess) <= room
    return below and above and both and excess == excess


NUMBERS = ('predicted', 'measured', 'error', 'tolerance')  # of a row


Points = tuple[Sequence[float], Sequence[float]]  # x and y of a line


class Sketch(NamedTuple):
  """What a plot of the claim shows: theory as lines, measurements as marks.

  Attributes:
    x: label of the horizontal axis.
    y: of the vertical one.
    predicted: name -> line.
    measured: name -> marks; of a name that is predicted too, in its colour.
    log: which of the axes, 'x', 'y' or 'xy', are logarithmic.
  """

  x: str
  y: str
  predicted: Mapping[str, Points] = MappingProxyType({})
  measured: Mapping[str, Points] = MappingProxyType({})
  log: str = ''


class Claim(NamedTuple):
  """What a module measured."""

  rows: Sequence[Row]
  sketch: Sketch | None = None


class Finding(NamedTuple):
  """A claim with what its module says of it.

  Attributes:
    name: of the file.
    title: the first line of the docstring.
    statement: its paragraphs after that.
    claim: what was measured.
  """

  name: str
  title: str
  statement: list[str]
  claim: Claim

  @property
  def agrees(self) -> bool:
    """Whether all rows do."""
    return all(row.agrees for row in self.claim.rows)


def names() -> list[str]:
  """Of all claims there are.

  Raises:
    UserError: Python does not find them.
  """
  try:
    importlib.import_module(PACKAGE)
  except ModuleNotFoundError as error:
    folder = PACKAGE.replace('.', '/')
    raise UserError(
      f'no folder {folder}: start Python where it lies, or put that into PYTHONPATH'
    ) from error
  return sorted(offered(PACKAGE, 'claim'))


def find(name: str, full: bool = False) -> Finding:
  """Measures a claim, in float64.

  Args:
    name: of a file in experiments/theory.
    full: whether at the size that is reported, or at one that a test can wait for.

  Raises:
    UserError: there is no such claim.
  """
  module = find_module(PACKAGE, name, 'claim')
  title, *statement = (
    ' '.join(paragraph.split()) for paragraph in inspect.getdoc(module).split('\n\n')
  )
  with jax.enable_x64(True):
    rows, sketch = module.claim(full)
    rows = [row._replace(**{k: float(getattr(row, k)) for k in NUMBERS}) for row in rows]
  return Finding(name, title, statement, Claim(rows, sketch))


def findings(chosen: Sequence[str], full: bool = False) -> Iterator[Finding]:
  """The claims of these names, each as soon as it is measured."""
  return (find(name, full) for name in chosen)
