"""python -m tests.benchmarks.throughput: jaxgen and what a user would pick instead, side by side.

Every contender works in its own process, and they take turns. Nothing here asserts anything: times
are of this machine, at this moment; ratios within a row of turns are what compares.
"""

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxgen.evaluation.provenance import processor
from tests.benchmarks import settings, tables
from tests.benchmarks.contender import INSTALL, NEEDS, Measure, has_accelerator, missing
from tests.benchmarks.interleave import Failed, Neighbours, measure
from tests.benchmarks.startup import EXPERIMENTS, starts

PARTS = ('ceiling', 'training', 'sampling', 'evaluation', 'startup', 'growth')
LIBRARIES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'torch', 'diffusers', 'pythae')


def parser() -> argparse.ArgumentParser:
  """The command line."""
  result = argparse.ArgumentParser(prog='python -m tests.benchmarks.throughput')
  result.add_argument('--only', default=','.join(PARTS), help=f'some of {",".join(PARTS)}')
  result.add_argument('--match', default='', help='only measures whose name contains this')
  result.add_argument('--seconds', type=float, default=0.7, help='of one turn')
  result.add_argument('--rounds', type=int, default=5, help='turns of each contender')
  result.add_argument('--output', type=Path, help='a JSON file for all numbers')
  result.add_argument('--smoke', action='store_true', help='see it work: short turns, few measures')
  result.add_argument(
    '--accelerator', action=argparse.BooleanOptionalAction, help='rows meant for a GPU (if any)'
  )
  return result


def surroundings(benchmark: str = 'throughput') -> dict[str, Any]:
  """What the numbers depend on."""
  versions = {}
  for name in LIBRARIES:
    try:
      versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      versions[name] = None
  return {
    'date': datetime.datetime.now(datetime.UTC).date().isoformat(),
    'command': ' '.join([f'python -m tests.benchmarks.{benchmark}', *sys.argv[1:]]),
    'cpu': processor(),
    'cores': len(os.sched_getaffinity(0)),
    'load_before': os.getloadavg()[0],
    'python': platform.python_version(),
    'libraries': versions,
  }


def compared(
  measures: Iterator[Measure], seconds: float, rounds: int, ceiling: float
) -> list[dict[str, Any]]:
  """Rows of measures, printed as they come, against this ceiling."""
  rows = []
  for one in measures:
    # A thousand denoising steps are an average by themselves, and take long.
    turns = min(rounds, 2) if 'DDPM 1000' in one.name else rounds
    neighbours = Neighbours()
    timings, absent = measure(one, seconds, turns)
    row = tables.measure_row(one.name, timings, absent)
    rows.append(row | {'others': neighbours.share(), 'ceiling': ceiling})
    print(tables.measure_text(rows[-1]), flush=True)
  return rows


def grown(
  curves: Iterator[tuple[str, list[tuple[str, Measure]]]], seconds: float, rounds: int
) -> list[dict[str, Any]]:
  """Curves, printed as they come."""
  rows = []
  for name, places in curves:
    points, neighbours = [], Neighbours()
    for place, one in places:
      timings, absent = measure(one, seconds / 2, min(rounds, 3))
      points.append({'at': place, **tables.measure_row(place, timings, absent)})
    rows.append({'name': name, 'points': points, 'others': neighbours.share()})
    print(tables.growth_text(rows[-1]), flush=True)
  return rows


def started(experiments: Sequence[str], rounds: int) -> list[dict[str, Any]]:
  """Starts of these experiments, printed as they come."""
  neighbours = Neighbours()
  try:
    rows = tables.start_rows(list(starts(experiments, rounds)))
  except Failed as error:
    print(f'startup: {error}', flush=True)
    return [{'failed': str(error)}]
  rows = [row | {'others': neighbours.share()} for row in rows]
  print(tables.start_text(rows), flush=True)
  return rows


def chosen_parts(
  options: argparse.Namespace, results: dict[str, Any]
) -> dict[str, Callable[[], list[dict[str, Any]]]]:
  """What each part runs, under these options; shares are of the ceiling in the results, if any."""
  accelerator = options.accelerator if options.accelerator is not None else has_accelerator()
  seconds, rounds = (0.2, 2) if options.smoke else (options.seconds, options.rounds)

  def wanted(name: str) -> bool:
    smoke = name in settings.SMOKE or name in ('vae', 'vae, virtual devices')
    return options.match in name and (smoke or not options.smoke)

  def measures(part: str) -> list[dict[str, Any]]:
    found = getattr(settings, part)(accelerator)
    chosen = (one for one in found if part == 'ceiling' or wanted(one.name))
    return compared(chosen, seconds, rounds, tables.highest(results.get('ceiling', ())))

  def curves() -> list[dict[str, Any]]:
    found = (curve for curve in settings.growth(accelerator) if wanted(curve[0]))
    return grown(found, seconds, rounds)

  compared_parts = ('ceiling', 'training', 'sampling', 'evaluation')
  return {part: partial(measures, part) for part in compared_parts} | {
    'startup': lambda: started([e for e in EXPERIMENTS if wanted(e)], min(rounds, 2)),
    'growth': curves,
  }


def main(arguments: list[str] | None = None) -> int:
  """Runs the parts asked for; returns the process's exit code."""
  options = parser().parse_args(arguments)
  chosen = options.only.split(',')
  if unknown := set(chosen) - set(PARTS):
    print(f'--only={options.only}: no part {unknown}; choose of {",".join(PARTS)}', file=sys.stderr)
    return 2
  results: dict[str, Any] = {'surroundings': surroundings()}
  print(json.dumps(results['surroundings'], indent=2), flush=True)
  for side in NEEDS:
    if absent := missing(side):
      print(f'No rows of {side}: {" and ".join(absent)} not installed; {INSTALL}', flush=True)
  for part, rows in chosen_parts(options, results).items():
    if part in chosen:
      print(f'\n== {part}', flush=True)
      results[part] = rows()
      if options.output:
        options.output.write_text(json.dumps(results, indent=2) + '\n')
  return 0


if __name__ == '__main__':
  sys.exit(main())
