"""python -m tests.benchmarks.quality: minutes until samples are good.

jaxgen's recipes and what a user would pick instead train on the same images for the same time, in
processes of their own that take turns. At 1/32, 1/16, ... of the time, samples are drawn, to be
scored by one protocol. Nothing here asserts anything: times are of this machine, at this moment.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.contender import Contender, has_accelerator, missing
from tests.benchmarks.interleave import Failed, Neighbours, Worker
from tests.benchmarks.quality import curves, figure, recipes
from tests.benchmarks.quality.curves import Curve
from tests.benchmarks.quality.scoring import Judge
from tests.benchmarks.tables import others
from tests.benchmarks.throughput import surroundings

MARKS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the time
MODULE = 'tests.benchmarks.quality.worker'


def parser() -> argparse.ArgumentParser:
  """The command line."""
  result = argparse.ArgumentParser(prog='python -m tests.benchmarks.quality')
  families = ','.join(recipes.FAMILIES)
  result.add_argument('--only', default=families, help=f'some of {families}')
  result.add_argument(
    '--minutes', default='5', help='of training for each contender: 5, or of each family, as 5,2,1'
  )
  result.add_argument('--samples', type=int, default=2000, help='drawn and scored at every mark')
  result.add_argument('--data_path', default='', help='where prepared datasets lie')
  result.add_argument('--output', type=Path, help='a JSON file for all numbers')
  result.add_argument('--figure', type=Path, help='a PNG file; beside --output by default')
  result.add_argument('--smoke', action='store_true', help='see it work: seconds, on the digits')
  return result


def train(
  contenders: dict[str, Contender], seconds: float, samples: int, folder: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
  """All contenders in turns, from mark to mark; the samples of each mark lie in the folder.

  Returns:
    By label what `worker` answered first, `start`, and its answers at the `marks`; and by label
    why there are none.
  """
  workers: dict[str, Worker] = {}
  found: dict[str, dict[str, Any]] = {}
  absent: dict[str, str] = {}
  try:
    for label, contender in contenders.items():
      if lacking := missing(contender.side):
        absent[label] = f'{" and ".join(lacking)} not installed'
        continue
      try:
        workers[label] = Worker(contender, str(seconds), module=MODULE)
        found[label] = workers[label].about | {'start': workers[label].first_step, 'marks': []}
      except Failed as error:
        absent[label] = str(error)
    for number, mark in enumerate(MARKS):
      for place, label in enumerate(list(workers)):
        marks = found[label]['marks']
        file = folder / f'{place}-{number}.npz'
        left = mark * seconds - sum(answer['seconds'] for answer in marks)
        request = {'seconds': left, 'samples': samples, 'file': str(file)}
        try:
          marks.append(workers[label].ask(json.dumps(request)) | {'file': file})
        except Failed as error:
          absent[label] = str(error)
          del workers[label], found[label]
  finally:
    for worker in workers.values():
      worker.close()
  return found, absent


def scored(found: dict[str, Any], judge: Judge) -> Curve:
  """The curve of a contender, given what `train` found."""
  seconds, updates, points = 0.0, found['updates'], []
  for answer in found['marks']:
    seconds, updates = seconds + answer['seconds'], updates + answer['updates']
    number = judge.file(answer['file'])
    points.append(curves.Point(seconds, updates, number.value, number.standard_error))
  about = (found[name] for name in ('start', 'batch', 'parameters', 'device'))
  return Curve(points, *about)


def run(family: str, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
  """A family from its start to its tables, which are printed; what JSON has of it."""
  data = 'digits' if options.smoke else 'mnist'
  contenders = recipes.contenders(family, data, options.data_path, has_accelerator())
  neighbours = Neighbours()
  with tempfile.TemporaryDirectory() as folder:
    found, absent = train(contenders, seconds, options.samples, Path(folder))
    share = neighbours.share()
    judge = Judge(next(iter(contenders.values())))
    known = {label: scored(one, judge) for label, one in found.items()}
  floor, races = judge.floor(options.samples), curves.races(known)
  row = {
    'family': family,
    'seconds': seconds,
    'protocol': judge.protocol,
    'real': floor,
    'curves': {label: curve.to_json() for label, curve in known.items()},
    'races': races,
    'absent': absent,
    'others': share,
  }
  print(f'\n{family}, {seconds:g} s of training each; {judge.protocol}\n')
  print(curves.curves_text(family, known, absent, floor) + '\n')
  print(curves.races_text(races, recipes.GOALS[family]), others(row), sep='\n', flush=True)
  return row


def budgets(options: argparse.Namespace) -> dict[str, float]:
  """Seconds of training by family.

  Raises:
    ValueError: a family that is none, or minutes that are not.
  """
  families = options.only.split(',')
  if unknown := set(families) - set(recipes.FAMILIES):
    raise ValueError(f'--only={options.only}: no family {unknown}; of {recipes.FAMILIES}')
  minutes = [float(part) for part in options.minutes.split(',')]
  minutes = minutes * len(families) if len(minutes) == 1 else minutes
  if len(minutes) != len(families) or min(minutes) <= 0:
    raise ValueError(f'--minutes={options.minutes}: give one number, or {len(families)}, above 0')
  return {f: 60 * m for f, m in zip(families, minutes, strict=True)}


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the families asked for; returns the process's exit code."""
  options = parser().parse_args(arguments)
  if options.smoke:
    options.minutes, options.samples = '0.05', 200
  try:
    chosen = budgets(options)
  except ValueError as error:
    print(error, file=sys.stderr)
    return 2
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # the scores leave room for all
  results: dict[str, Any] = {'surroundings': surroundings('quality'), 'families': []}
  print(json.dumps(results['surroundings'], indent=2), flush=True)
  path = options.figure or (options.output and options.output.with_suffix('.png'))
  for family, seconds in chosen.items():
    results['families'].append(run(family, seconds, options))
    if options.output:
      options.output.write_text(json.dumps(results, indent=2) + '\n')
    if path:
      figure.draw(results['families'], path)
  return 0


if __name__ == '__main__':
  sys.exit(main())
