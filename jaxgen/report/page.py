"""Runs -> one self-contained page of HTML."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from jaxgen import __version__
from jaxgen.report.plots import (
  MOST_CURVES,
  Curves,
  Plot,
  curves,
  data_uri,
  distance_over_time,
  histogram,
)
from jaxgen.report.runs import Run
from jaxgen.report.tables import Groups, differences, group, numbers, tables
from jaxgen.writer import VALIDATION

TEMPLATE = Path(__file__).with_name('template.html')


def curves_of(runs: Sequence[Run]) -> list[Plot]:
  """Losses in training, and validation means, where there are any: a plot of each."""
  panels: dict[str, Curves] = {}
  for title, prefix in (('training', 'train/'), ('validation', VALIDATION)):
    names = dict.fromkeys(
      name
      for run in runs
      for record in run.records
      for name in record
      if name.startswith(prefix) and not name.endswith('_norm')
    )
    for name in list(names)[:MOST_CURVES]:
      for run in runs:
        points = [(r['step'], r[name]) for r in run.records if numbers([r.get(name)])]
        if points:
          metrics = panels.setdefault(title, {})
          metrics.setdefault(name.removeprefix(prefix), []).append(
            tuple(map(list, zip(*points, strict=True)))
          )
  return [curves(title, metrics) for title, metrics in panels.items()]


def classes_of(run: Run) -> dict[str, Any] | None:
  """The class histogram against the data's, and the distance of each class."""
  classes = run.evaluation.get('ema_scores', {}).get('classes', {})
  made, data = classes.get('histogram'), classes.get('data', {}).get('test')
  if not made or not data:
    return None
  shares = [[count / max(1, sum(counts)) for count in counts] for counts in (made, data)]
  return {
    'run': run.name,
    'plot': histogram(*shares),
    'missing': classes.get('missing', {}).get('test', []),
    'fid': classes.get('fid', {}).get('test', {}),
    'reasons': classes.get('fid_reasons', {}).get('test', {}),
  }


def over_time(groups: Groups) -> list[Plot]:
  """The Fréchet distances scored during training against its time: a plot for each protocol."""
  found: dict[tuple[str, str], dict[str, list[tuple[list[float], list[float]]]]] = {}
  for name, runs in groups.items():
    for run in runs:
      for protocol, points in run.distances().items():
        found.setdefault(protocol, {}).setdefault(name, []).append(points)
  return [distance_over_time(lines, protocol) for (protocol, _), lines in found.items()]


def page(runs: Sequence[Run], problems: Sequence[str] = ()) -> str:
  """The whole page as HTML."""
  groups = group(runs)
  environment = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
  )
  environment.globals['data_uri'] = data_uri
  sections = tables(groups)
  cells = [(row, cell) for section in sections for row in section['rows'] for cell in row.cells]
  return environment.from_string(TEMPLATE.read_text()).render(
    groups=groups,
    runs=runs,
    problems=problems,
    sections=sections,
    reasons=dict.fromkeys((row.protocol, cell.reason) for row, cell in cells if cell.reason),
    curves={name: plot for name, members in groups.items() if (plot := curves_of(members))},
    classes=[found for run in runs if (found := classes_of(run))],
    over_time=over_time(groups),
    differences=differences(groups),
    version=__version__,
  )
