"""What the cells of a study have found, and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen import configuration
from jaxgen.errors import UserError
from jaxgen.fields import flatten
from jaxgen.report.groups import Groups
from jaxgen.report.runs import Run, read
from jaxgen.report.tables import Row, cost
from jaxgen.study import cells
from jaxgen.study.numbers import rows_of
from jaxgen.study.plan import COSTS, MODEL, Cell, Point, Study
from jaxgen.version import __version__

FILE = 'study.json'
# Of a study's config; the others may change in a folder: what is shown.
COMPUTED = 'models', 'overrides', 'axes', 'besides'


class Entry(NamedTuple):
  """One evaluation of one cell.

  Attributes:
    cell: whose.
    point: on all axes, and on the models'.
    status: cells.FINISHED, FAILED or OPEN.
    reason: why it failed.
    seconds: that the cell took with its evaluations, in all attempts.
    run: what a report knows of it, None where it is not finished.
  """

  cell: Cell
  point: Point
  status: str
  reason: str
  seconds: float
  run: Run | None


class Result(NamedTuple):
  """All that a study has found so far.

  Attributes:
    study: the config and its cells.
    entries: an evaluation each.
    groups: entries that differ in nothing but the seed, by their point in words.
    rows: number of the study -> what it came to in each group, one row for each protocol.
    problems: what a reader should know.
  """

  study: Study
  entries: list[Entry]
  groups: dict[str, list[Entry]]
  rows: dict[str, list[Row]]
  problems: list[str]

  @property
  def cells(self) -> list[Entry]:
    """One entry of each cell."""
    return list({entry.cell.name: entry for entry in self.entries}.values())

  @property
  def runs(self) -> Groups:
    """The groups as a report has them: those with runs."""
    found = {name: [e.run for e in entries if e.run] for name, entries in self.groups.items()}
    return {name: runs for name, runs in found.items() if runs}


def collect(study: Study, workdir: Path) -> Result:
  """Reads all cells of a study, whatever process ran them."""
  entries = [entry for cell in study.cells for entry in entries_of(study, workdir, cell)]
  groups: dict[str, list[Entry]] = {}
  for entry in entries:
    groups.setdefault(words(study, entry.point), []).append(entry)
  result = Result(study, entries, groups, {}, [])
  rows = {name: rows_of(name, result.runs) for name in (*study.config.numbers, *COSTS)}
  problems = [
    f'{entry.cell.name} failed: {entry.reason}'
    for entry in result.cells
    if entry.status == cells.FAILED
  ]
  still = [entry.cell.name for entry in result.cells if entry.status == cells.OPEN]
  problems += [f'not finished: {", ".join(still)}'] if still else []
  problems += trained_otherwise(workdir, entries)
  if result.runs:
    problems += [f'no run has the number {name!r}' for name, found in rows.items() if not found]
  return result._replace(rows=rows, problems=problems)


def entries_of(study: Study, workdir: Path, cell: Cell) -> list[Entry]:
  """The evaluations of a cell."""
  where = cells.places(workdir, cell)
  status, reason = cells.status(workdir, cell)
  try:
    runs = read(where.workdir)
  except UserError:  # nothing was trained there yet
    runs = []
  found, taken = [], cells.seconds(workdir, cell)
  for sampling in cell.samplings:
    point = {MODEL: cell.model} | {
      axis: (cell.point | sampling.point)[axis] for axis in study.config.axes
    }
    run = next((run for run in runs if cells.of(run.evaluation, cell, sampling)), None)
    found.append(Entry(cell, point, status, reason, taken, run))
  return found


def trained_otherwise(workdir: Path, entries: Sequence[Entry]) -> list[str]:
  """Which runs were trained with another config than their experiment's file has now."""
  found: dict[str, list[str]] = {}
  for cell in {entry.cell.name: entry.cell for entry in entries if entry.run}.values():
    there = cells.places(workdir, cell).workdir
    if fields := configuration.differences(cell.config, there):
      found.setdefault(', '.join(fields), []).append(cell.name)
  return [f'of another config, {fields}: {", ".join(names)}' for fields, names in found.items()]


def words(study: Study, point: Point) -> str:
  """A point as the name of a group."""
  model = [str(point[MODEL])] if len(study.config.models) > 1 or len(point) == 1 else []
  return ' '.join([*model, *(f'{axis}={point[axis]}' for axis in study.config.axes)])


def opening(study: Study) -> dict[str, Any]:
  """What study.json holds before there are results."""
  saved = json.loads(study.config.to_json())
  return {'jaxgen': __version__, 'config': study.source, 'study': saved}


def agree(study: Study, workdir: Path) -> None:
  """Checks that a folder is free, or holds this study.

  Seeds may be added, and what is shown may change: neither makes another number of a cell.

  Raises:
    UserError: it holds another study, or a run.
  """
  if (workdir / configuration.FILE).exists():
    raise UserError(f'{workdir} is the folder of a run: choose another --workdir for the study')
  if not (workdir / FILE).exists():
    return
  try:
    saved = json.loads((workdir / FILE).read_text())['study']
    then = dict(flatten({name: saved[name] for name in COMPUTED if name in saved}))
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    raise UserError(
      f'cannot read {workdir / FILE}: {error}; move it away to make it anew'
    ) from error
  now = dict(flatten(json.loads(study.config.to_json())))
  now = {name: value for name, value in now.items() if name.startswith(COMPUTED)}
  different = [
    f'  {name}: {then.get(name)!r} there, {now.get(name)!r} now'
    for name in sorted(then.keys() | now.keys())
    if then.get(name) != now.get(name)
  ]
  if different:
    raise UserError(
      f'{workdir} holds another study:\n' + '\n'.join(different) + '\nUse another --workdir.'
    )


def as_json(result: Result) -> dict[str, Any]:
  """study.json: the study, every cell with what made its numbers, and the table."""
  groups = list(result.runs)
  return opening(result.study) | {
    'problems': result.problems,
    'cells': [described(entry) for entry in result.entries],
    'table': [
      {
        'number': name,
        'protocol': row.protocol,
        'real_images': row.real.value,
        'groups': {
          group: {
            'mean': summary.value,
            'spread': summary.spread,
            'spread_is': summary.spread_is,
            'seeds': dict(zip(seeds_of(result, group), summary.values, strict=True)),
          }
          for group, summary in zip(groups, row.summaries, strict=True)
          if summary.values
        },
      }
      for name, rows in result.rows.items()
      for row in rows
    ],
  }


def seeds_of(result: Result, group: str) -> list[int]:
  """The training seeds of a group's runs."""
  return [entry.cell.seed for entry in result.groups[group] if entry.run]


def described(entry: Entry) -> dict[str, Any]:
  """One evaluation for JSON."""
  run = entry.run
  found = {
    'name': entry.cell.name,
    'point': entry.point,
    'seed': entry.cell.seed,
    'status': entry.status,
    'reason': entry.reason,
    'seconds': entry.seconds,
    'arguments': list(entry.cell.arguments),
  }
  if run is None:
    return found
  kept = ('step', 'checkpoint_sha256', 'parameters_sha256', 'ema_sha256', 'sampler')
  return found | {name: run.evaluation.get(name) for name in kept} | {'cost': cost(run)}
