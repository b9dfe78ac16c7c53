"""python -m jaxgen.report runs/a runs/b --output=report.html: workdirs -> one page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from jaxgen import __version__
from jaxgen.errors import UserError
from jaxgen.images import write_whole
from jaxgen.report_plots import (
  MOST_CURVES,
  Curves,
  Plot,
  curves,
  data_uri,
  distance_over_time,
  histogram,
)
from jaxgen.report_runs import Run, read
from jaxgen.report_tables import Groups, differences, group, numbers, score_rows, tables
from jaxgen.writer import VALIDATION

TEMPLATE = Path(__file__).with_name('report_template.html')


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


def over_time(groups: Groups) -> Plot | None:
  """The Fréchet distance of each run against its training time, where two or more have it."""
  rows = [row for row in score_rows(groups, 'ema', 'test') if row.protocol.startswith('fid')]
  rows = [row for row in rows if sum(cell.value is not None for cell in row.cells) > 1]
  if not rows:
    return None
  points = {
    name: [(time, cell.value)]
    for (name, runs), cell in zip(groups.items(), rows[0].cells, strict=True)
    if cell.value and (time := float(np.mean([run.training_seconds for run in runs])))
  }
  return distance_over_time(points, rows[0].protocol.partition('@')[0]) if points else None


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


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the process's exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m jaxgen.report', description='Compare runs on one page.', allow_abbrev=False
  )
  parser.add_argument('workdirs', nargs='+', type=Path, metavar='WORKDIR')
  parser.add_argument('--output', type=Path, default=Path('report.html'))
  options = parser.parse_args(arguments)
  runs, problems = [], []
  try:
    for workdir in dict.fromkeys(options.workdirs):
      try:
        runs.append(read(workdir))
      except UserError as error:
        problems.append(str(error))
        print(f'jaxgen: left out: {error}', file=sys.stderr)
    if not runs:
      raise UserError('there is no run to report')
    write_whole(options.output, page(runs, problems).encode())
  except (UserError, OSError) as error:
    print(f'jaxgen: {error}', file=sys.stderr)
    return 2
  print(f'{len(runs)} runs: {options.output}' if len(runs) > 1 else f'1 run: {options.output}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
