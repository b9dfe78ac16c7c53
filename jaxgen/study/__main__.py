"""python -m jaxgen.study --config=experiments/studies/beta.py --workdir=...: runs a grid of runs.

A second machine shares the cells with --part=1/2 here and --part=2/2 there, over one folder.
"""

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jaxgen import commands
from jaxgen.errors import UserError, first_line
from jaxgen.images import write_whole
from jaxgen.progress import clock
from jaxgen.study import cells, plan, results, table
from jaxgen.study.cells import FINISHED, Stop
from jaxgen.study.page import page
from jaxgen.study.picture import picture
from jaxgen.study.plan import Cell, Study
from jaxgen.training.stopping import silence
from jaxgen.training.workdir import claim

ALL = '1/1'  # the one part that has all cells


def parser() -> argparse.ArgumentParser:
  """The command line, but for --config.field=value, which the study's own types parse."""
  result = commands.parser(
    'jaxgen.study',
    'Run a grid of experiments and compare them on one page. The same command resumes, skips what '
    'is finished and tries again what has failed.',
    (
      '--config=experiments/studies/beta.py --workdir=runs/beta',
      '--config=experiments/studies/beta.py --config.seeds=0,1 --config.overrides.num_steps=500',
      '--config=experiments/studies/wgan_clip.py:mnist --workdir=/shared/clip --part=2/8',
      '--config=experiments/studies/atlas.py:mnist --workdir=/shared/atlas --launcher=slurm '
      '--jobs=8 --slurm=partition=gpu --slurm=gpus_per_node=1 --slurm=time=600',
    ),
  )
  result.add_argument('--config', required=True, help='experiments/studies/NAME.py[:DATASET]')
  result.add_argument(
    '--workdir', type=Path, help='folder of the study (default: runs/NAME-DATASET)'
  )
  result.add_argument('--part', default=ALL, help='K/N: of N that share one folder, the Kth part')
  result.add_argument('--launcher', choices=('slurm',), help='submit the parts, and return')
  result.add_argument('--jobs', type=int, help='with --launcher: how many parts')
  result.add_argument(
    '--slurm',
    metavar='NAME=VALUE',
    action='append',
    default=[],
    help='with --launcher: option of sbatch, as in time=600 (minutes); once for each',
  )
  result.add_argument('--report_only', action='store_true', help='only write what is there so far')
  return result


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the process's exit code."""
  options, overrides = parser().parse_known_args(arguments)
  try:
    unknown = [a for a in overrides if a.startswith('-') and not a.startswith('--config.')]
    if unknown:
      raise UserError(f'unknown option {unknown[0]!r}; see --help')
    study = plan.load(options.config, overrides)
    workdir = options.workdir or default_workdir(options.config)
    mine = plan.part(study.cells, options.part)
    results.agree(study, workdir)
    if options.launcher:
      return hand_out(study, workdir, options, overrides)
    if options.slurm or options.jobs is not None:
      raise UserError('--jobs and --slurm are for --launcher=slurm, which is missing')
    if options.report_only:
      return report(study, workdir, mine)
    with claim(workdir / 'parts' / options.part.replace('/', '-of-')):
      return run(study, workdir, mine)
  except UserError as error:
    code, message = 2, str(error)
  except BrokenPipeError:
    silence()
    code, message = 128 + signal.SIGPIPE, ''
  except (OSError, MemoryError) as error:
    code, message = 2, f'{first_line(error)}; what was saved in the study before is kept'
  except KeyboardInterrupt:
    code, message = 130, 'interrupted; the same command resumes'
  if message:
    print(f'jaxgen: {message}', file=sys.stderr)
  return code


def default_workdir(source: str) -> Path:
  """runs/<study>, or runs/<study>-<dataset>."""
  name, _, dataset = source.partition(':')
  return Path('runs') / '-'.join(
    [Path(name).stem, *([re.sub(r'[^\w.-]', '_', dataset)] if dataset else [])]
  )


def hand_out(
  study: Study, workdir: Path, options: argparse.Namespace, overrides: Sequence[str]
) -> int:
  """Submits all parts and says where to look for them."""
  from jaxgen.study import slurm  # submitit is for clusters alone

  most = len(study.cells)
  if options.report_only or options.part != ALL:
    raise UserError('--launcher submits all parts: leave out --part and --report_only')
  if options.jobs is None or not 1 <= options.jobs <= most:
    raise UserError(f'--jobs={options.jobs} must be from 1 to {most}, as many as there are cells')
  mine = [f'--config={options.config}', f'--workdir={workdir}', *overrides]
  number = slurm.submit(workdir, mine, options.jobs, options.slurm)
  begin(study, workdir)
  print(f'{study.config.title}: job {number} of {options.jobs}, output in {workdir / slurm.FOLDER}')
  return 0


def begin(study: Study, workdir: Path) -> None:
  """Makes the folder this study's."""
  if not (workdir / results.FILE).exists():
    write_whole(workdir / results.FILE, json.dumps(results.opening(study), indent=2).encode())


def run(study: Study, workdir: Path, mine: Sequence[Cell]) -> int:
  """Runs the cells of one part that are not finished, then writes what all parts have found."""
  begin(study, workdir)
  left = [cell for cell in mine if cells.remaining(workdir, cell)]
  found = f'{len(study.cells)} cells in {workdir}, {len(left)} to run here'
  print(f'{study.config.title}: {found}', flush=True)
  with Stop() as stop:
    for number, cell in enumerate(left, 1):
      if stop.number:
        break
      one(study, workdir, cell, f'[{number}/{len(left)}]', left[number:], stop)
  if stop.number:
    done = sum(not cells.remaining(workdir, cell) for cell in mine)
    print(
      f'jaxgen: {signal.Signals(stop.number).name}: stopped with {done} of {len(mine)} cells '
      'finished; the same command resumes',
      file=sys.stderr,
    )
    return 128 + stop.number
  return report(study, workdir, mine)


def one(
  study: Study, workdir: Path, cell: Cell, place: str, after: Sequence[Cell], stop: Stop
) -> None:
  """Runs a cell that no other process has, and says how it went and how long the rest may take."""
  try:
    with claim(cells.places(workdir, cell).notes):
      if not cells.remaining(workdir, cell):  # another part has finished it since
        return
      print(f'{place} {cell.words}', flush=True)
      began = time.monotonic()
      reason = cells.run(workdir, cell, stop)
      if stop.number:
        return
      how = f'failed: {reason}' if reason else 'finished'
      print(f'{place} {cell.words}: {how} ({clock(time.monotonic() - began)})', flush=True)
      if after:
        to_go = cells.estimate(workdir, study.cells, after)
        when = f', ETA {clock(to_go)}' if to_go else ''  # nothing is known before one has finished
        print(f'{place} {len(after)} to go{when}', flush=True)
  except UserError as error:
    print(f'{place} {cell.words}: left to the other process: {error}', flush=True)


def report(study: Study, workdir: Path, mine: Sequence[Cell]) -> int:
  """Writes study.json, study.md, study.html and study.png; returns 1 where cells of mine failed."""
  # One part after the other, so that the last to write has seen what all have found.
  with claim(workdir / 'parts' / 'report', wait=True):
    found = results.collect(study, workdir)
    write_whole(workdir / results.FILE, json.dumps(results.as_json(found), indent=2).encode())
    write_whole(workdir / 'study.md', table.markdown(found).encode())
    drawn = picture(found)
    if drawn:
      write_whole(workdir / 'study.png', drawn)
    write_whole(workdir / 'study.html', page(found, drawn).encode())
  done = sum(entry.status == FINISHED for entry in found.cells)
  print(f'{done} of {len(found.cells)} cells: {workdir / "study.html"}, study.md, study.json')
  failed = [e for e in found.cells if e.status == cells.FAILED and e.cell in mine]
  if failed:
    print(
      f'jaxgen: {len(failed)} of {len(mine)} cells failed, {failed[0].cell.name} first: '
      f'{failed[0].reason}\nThe same command tries them again.',
      file=sys.stderr,
    )
  return 1 if failed else 0


if __name__ == '__main__':
  sys.exit(main())
