"""What a study has found -> the report's page, with the study's plots and table above it."""

from typing import Any

from jaxgen.report import page as report
from jaxgen.report.plots import Plot, Series, sweep
from jaxgen.report.tables import Row
from jaxgen.study import results, table
from jaxgen.study.plan import MODEL, Point
from jaxgen.study.results import Entry, Result


def page(result: Result, picture: bytes | None) -> str:
  """The whole page as HTML, small enough to be kept in a repository.

  Args:
    result: of the study.
    picture: of all groups' samples, a PNG file.
  """
  config = result.study.config
  columns = table.columns(result)
  lead: dict[str, Any] = {
    'title': config.title,
    'source': result.study.source,
    'plots': [
      made for name, row in columns if name in config.numbers and (made := plot(result, name, row))
    ],
    'columns': [(row.name, row.protocol, row.real.text) for _, row in columns],
    'lines': [
      (line.name, line.missing, list(zip(line.summaries, line.best, strict=True)))
      for line in table.lines(result)
    ],
    'of_seeds': table.of_seeds,
    'picture': picture,
    'command': result.study.command,
  }
  return report.page([], result.problems, result.runs, lead)


def plot(result: Result, name: str, row: Row) -> Plot | None:
  """A number along `x`: a line for each `line_name`, a dot for each seed; None of none."""
  config = result.study.config
  lines: dict[str, Series] = {}
  for place, group in enumerate(result.runs):
    entries = result.groups[group]
    seeds = results.seeds_of(result, group)
    measured = dict(
      zip(seeds, row.summaries[place].values, strict=False)
    )  # none where no run has it
    pairs = [(along(result, entry, place), measured.get(entry.cell.seed)) for entry in entries]
    pairs = [(x, y) for x, y in pairs if x is not None and y is not None]
    if pairs:
      lines.setdefault(line_name(result, entries[0].point), []).append(pairs)
  if not lines:
    return None
  log = tuple(axis for axis, of in (('x', config.x), ('y', name)) if of in config.log)
  return sweep(lines, config.x, row.name, row.protocol, log, row.real.value)


def along(result: Result, entry: Entry, place: int) -> Any:
  """Where an entry of the group at this place lies along x, None where that is not known."""
  x = result.study.config.x
  if x in entry.point:
    return entry.point[x]
  rows, entries = result.rows[x], list(result.runs)
  seeds = results.seeds_of(result, entries[place])
  if not rows or entry.cell.seed not in seeds or not rows[0].summaries[place].values:
    return None
  return rows[0].summaries[place].values[seeds.index(entry.cell.seed)]


def line_name(result: Result, point: Point) -> str:
  """What tells a line of a plot from the others: the point without x.

  Where x is a number of the study, an axis of numbers runs along the lines too, as steps do where x
  is what they cost.
  """
  config = result.study.config
  model = [str(point[MODEL])] if len(config.models) > 1 and config.x != MODEL else []
  number = config.x not in (*config.axes, MODEL)

  def along_too(axis: str) -> bool:
    return number and isinstance(point[axis], int | float)

  apart = [axis for axis in config.axes if axis != config.x and not along_too(axis)]
  return ' '.join([*model, *(f'{axis}={point[axis]}' for axis in apart)])
