"""Cells as command lines of `jaxgen.main`, each cell in a process of its own, and their records."""

import json
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen import fields
from jaxgen.images import write_whole
from jaxgen.report.runs import as_dict, evaluations, read_json
from jaxgen.study.plan import Cell, Sampling
from jaxgen.training import checkpoint
from jaxgen.training.checkpoint import FOLDERS, LAST

RECORD, OUTPUT = 'cell.json', 'output.txt'
FINISHED, FAILED, OPEN = 'finished', 'failed', 'not finished'
BY_SIGNAL = 128  # beyond it, exit codes are of signals
LOOK = 60.0  # seconds between two words on a cell that is running

# A server that has imported JAX, and computed nothing, forks a process for each cell: seconds less
# for each, and what one cell does to its process, another never sees.
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['jaxgen.training.loop', 'jaxgen.inference', 'jaxgen.main'])


class Places(NamedTuple):
  """Where a cell is in the folder of its study."""

  workdir: Path  # an ordinary one
  notes: Path  # the lock, the record and the output of the cell

  @property
  def output(self) -> Path:
    """What its command lines printed."""
    return self.notes / OUTPUT


def places(study: Path, cell: Cell) -> Places:
  """The folders of a cell."""
  return Places(study / 'runs' / cell.name, study / 'cells' / cell.name)


def of(evaluation: dict[str, Any], cell: Cell, sampling: Sampling) -> bool:
  """Whether this is the evaluation of the finished cell by this sampling.

  One that looked at raw parameters too will do where they are not wanted; all older ones did.
  """
  wanted = {
    'step': cell.config.num_steps,
    'sampler': fields.sampler(sampling.config),
    'evaluation': sampling.config.evaluation.to_dict(),
  }
  found = {name: evaluation.get(name) for name in wanted}
  looked = {'raw': True} | as_dict(found['evaluation'])
  if looked['raw'] and 'raw' in wanted['evaluation']:
    looked['raw'] = wanted['evaluation']['raw']
  return found | {'evaluation': looked} == json.loads(json.dumps(wanted))


def remaining(study: Path, cell: Cell) -> list[list[str]]:
  """The command lines of `jaxgen.main` that a cell still needs; none of a finished one."""
  workdir = places(study, cell).workdir
  there = f'--workdir={workdir}'
  made = evaluations(workdir, []).values()
  missing = [s for s in cell.samplings if not any(of(one, cell, s) for one in made)]
  lines = [['--mode=evaluate', there, *sampling.arguments] for sampling in missing]
  trained = checkpoint.steps(workdir / FOLDERS[LAST])[-1:] == [cell.config.num_steps]
  return lines if trained or not lines else [[*cell.arguments, there], *lines]


def status(study: Path, cell: Cell) -> tuple[str, str]:
  """Whether a cell is finished or failed, and why."""
  if not remaining(study, cell):
    return FINISHED, ''
  record = read_json(places(study, cell).notes / RECORD, [])
  return (FAILED, str(record.get('reason', ''))) if record.get('reason') else (OPEN, '')


def seconds(study: Path, cell: Cell) -> float:
  """How long a cell has taken so far, in all attempts."""
  taken = read_json(places(study, cell).notes / RECORD, []).get('seconds', 0.0)
  return float(taken) if isinstance(taken, int | float) else 0.0


def estimate(study: Path, cells: Sequence[Cell], left: Sequence[Cell]) -> float:
  """Seconds that the cells that are left may take: as other seeds, the model's others, or any."""
  records = [(cell, read_json(places(study, cell).notes / RECORD, [])) for cell in cells]
  took = [(cell, seconds(study, cell)) for cell, record in records if record.get('exit_code') == 0]

  def alike(cell: Cell) -> list[float]:
    same = [s for other, s in took if (other.model, other.point) == (cell.model, cell.point)]
    return same or [s for other, s in took if other.model == cell.model] or [s for _, s in took]

  return sum(float(np.mean(alike(cell))) for cell in left if alike(cell))


class Stop:
  """Signals that ask the study to stop, passed on to the cell that is running.

  Attributes:
    number: of the first one, 0 while there is none.
  """

  def __init__(self) -> None:
    self.number = 0
    self.running: BaseProcess | None = None

  def __enter__(self) -> 'Stop':
    self._before = {n: signal.signal(n, self._ask) for n in (signal.SIGINT, signal.SIGTERM)}
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _ask(self, number: int, _: object) -> None:
    self.number = self.number or number
    if self.running is not None and self.running.is_alive():
      os.kill(self.running.pid, number)  # one that comes a second time stops it at once


def run(study: Path, cell: Cell, stop: Stop) -> str:
  """Runs what a cell still needs and records how it went.

  Returns:
    Why it failed, '' if it did not, or was stopped.
  """
  where = places(study, cell)
  where.output.touch()
  began, said = time.monotonic(), where.output.stat().st_size
  before = seconds(study, cell)
  lines = remaining(study, cell)
  process = CONTEXT.Process(target=child, args=(str(where.output), lines))
  process.start()
  stop.running = process
  if stop.number:  # asked while it was starting
    process.terminate()
  try:
    while process.exitcode is None:
      process.join(LOOK)
      if process.exitcode is None:
        print(f'  {cell.words}: {last_line(where.output)}', flush=True)
  finally:  # should the console be gone: nothing trains on without the lock of its cell
    stop.running = None
    process.terminate()
    process.join()
  reason = '' if process.exitcode == 0 or stop.number else why(where.output, said, process.exitcode)
  record = {
    'command_lines': [['python', '-m', 'jaxgen.main', *line] for line in lines],
    'seconds': round(before + time.monotonic() - began, 3),
    'exit_code': process.exitcode,
    'reason': reason,
  }
  write_whole(where.notes / RECORD, json.dumps(record, indent=2).encode())
  return reason


def child(output: str, lines: Sequence[Sequence[str]]) -> None:
  """What the process of a cell does."""
  os.setpgid(0, 0)  # Ctrl-C goes to the study alone, which passes it on once
  signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  os.dup2(file, 1)
  os.dup2(file, 2)
  sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w', buffering=1)
  threading.Thread(target=end_with_parent, daemon=True).start()
  from jaxgen.main import main

  sys.exit(in_turn(lines, main))


def in_turn(lines: Sequence[Sequence[str]], main: Callable[[Sequence[str]], int]) -> int:
  """Runs command lines up to one that fails; an evaluation that does not stop the others.

  Returns:
    The first exit code that is not 0.
  """
  failed = 0
  for line in lines:
    sys.argv = ['jaxgen.main', *line]  # as run.json and evaluation.json keep it
    print('$ python -m', *sys.argv, flush=True)
    code = main(line)
    failed = failed or code
    if code and (line[0] != '--mode=evaluate' or code > BY_SIGNAL):
      break
  return failed


def end_with_parent() -> None:
  """Saves and stops, should the study be killed: nobody would look after this process."""
  multiprocessing.parent_process().join()
  os.kill(os.getpid(), signal.SIGTERM)


def last_line(path: Path) -> str:
  """The last line of a file, '' of an empty one."""
  lines = path.read_text(errors='replace').split('\n')
  return next((line for line in reversed(lines) if line.strip()), '')


def why(output: Path, said: int, code: int) -> str:
  """What a process said before it failed, after the first `said` bytes of its output."""
  text = output.read_bytes()[said:].decode(errors='replace')
  sentences = re.split(r'^jaxgen: ', text, flags=re.MULTILINE)
  if len(sentences) > 1:
    return ' '.join(sentences[-1].split())
  if code < 0:
    return f'ended by {signal.Signals(-code).name}, which a lack of memory may have caused'
  lines = [line for line in text.splitlines() if line.strip()]
  return lines[-1] if lines else f'ended with exit code {code}'
