"""Times contenders in turns, so that whatever else the machine does hits all of them alike."""

import collections
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.contender import Contender, Measure, missing

STATISTICS = Path('/proc/stat')
WORKER = 'tests.benchmarks.worker'


class Failed(Exception):
  """A worker ended without an answer; says what it last wrote."""


class Timing(NamedTuple):
  """What one contender did.

  Attributes:
    images_per_second: one number a round.
    steps_per_second: the same, in steps.
    cpu_seconds: of all cores, for a step, in each round. Waiting in turns costs nothing here, but
      threads that wait for each other in a loop count as busy.
    first_step: seconds from the start of the process to the end of its first unit.
    first_call: seconds of the first unit alone, compilation included.
    compile: first_call without the time of a unit.
    peak_megabytes: the most memory in use, of the process or of the accelerator.
    imported_megabytes: the process's memory before anything was built.
    parameters, flops, device: as in `Work`.
  """

  images_per_second: list[float]
  steps_per_second: list[float]
  cpu_seconds: list[float]
  first_step: float
  first_call: float
  compile: float
  peak_megabytes: float
  imported_megabytes: float
  parameters: int
  flops: float
  device: str

  @property
  def median(self) -> float:
    """Images per second, of the median round."""
    return statistics.median(self.images_per_second)

  @property
  def spread(self) -> float:
    """Half the range of the rounds, as a share of their median."""
    return (max(self.images_per_second) - min(self.images_per_second)) / (2 * self.median)


def ratio(a: Timing, b: Timing) -> float:
  """How many times faster a is than b: the median of the rounds' own ratios."""
  rounds = zip(a.images_per_second, b.images_per_second, strict=True)
  return statistics.median(x / y for x, y in rounds)


class Worker:
  """A contender's process, idle but for `seconds`."""

  def __init__(self, contender: Contender, *arguments: str, module: str = WORKER) -> None:
    """Returns when the first unit is done.

    Args:
      contender: what the process is to do.
      arguments: further ones of its command line.
      module: whose `main` it runs.

    Raises:
      Failed: it never was.
    """
    self.errors = tempfile.TemporaryFile('w+')  # noqa: SIM115  # closed by close()
    command = [sys.executable, '-m', module, contender.dumps(), *arguments]
    began = time.perf_counter()
    self.process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self.errors,
      text=True,
      # Several processes share an accelerator here, so none may take all of its memory at once;
      # and a program from the compilation cache would say nothing about compiling.
      env=os.environ
      | {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false', 'JAX_ENABLE_COMPILATION_CACHE': 'false'},
    )
    self.about = self.answer()
    self.first_step = time.perf_counter() - began
    self.last: dict[str, Any] = {}
    self.computed: list[float] = []

  def answer(self) -> dict[str, Any]:
    """The process's next line."""
    line = self.process.stdout.readline()
    if not line:
      self.errors.seek(0)
      written = self.errors.read().strip().splitlines() or ['no message']
      self.close()
      raise Failed(f'exit code {self.process.returncode}: {written[-1]}')
    return json.loads(line)

  def ask(self, line: Any) -> dict[str, Any]:
    """What the process answers to a line. Raises Failed if it has ended."""
    with contextlib.suppress(BrokenPipeError):  # why it ended is in its errors
      print(line, file=self.process.stdin, flush=True)
    return self.answer()

  def seconds(self, units: int) -> float:
    """How long so many units take."""
    self.last = self.ask(units)
    self.computed.append(self.last['cpu_seconds'] / units / self.about['steps'])
    return self.last['seconds']

  def close(self) -> None:
    """Ends the process."""
    with contextlib.suppress(BrokenPipeError):
      self.process.stdin.close()
    self.process.wait()
    self.process.stdout.close()
    self.errors.close()


def measure(
  compared: Measure, seconds: float, rounds: int
) -> tuple[dict[str, Timing], dict[str, str]]:
  """Every contender in turn, `rounds` times, about `seconds` each time.

  Returns:
    Timings by label, and reasons by label where there is none.
  """
  if compared.alone and len(compared.contenders) > 1:
    each = [compared._replace(contenders={k: v}) for k, v in compared.contenders.items()]
    parts = zip(*(measure(one, seconds, rounds) for one in each), strict=True)
    found, why = (dict(collections.ChainMap(*reversed(part))) for part in parts)
    return found, why
  workers: dict[str, Worker] = {}
  absent: dict[str, str] = {}
  try:
    for label, contender in compared.contenders.items():
      if lacking := missing(contender.side, contender.variant):
        absent[label] = f'{" and ".join(lacking)} not installed'
        continue
      try:
        workers[label] = Worker(contender)
      except Failed as error:
        absent[label] = str(error)
    units = {label: calibrate(worker, seconds) for label, worker in workers.items()}
    taken: dict[str, list[float]] = {label: [] for label in workers}
    for number in range(rounds):
      # There and back again, so that nobody always follows the same neighbour.
      for label in list(workers)[:: -1 if number % 2 else 1]:
        taken[label].append(workers[label].seconds(units[label]) / units[label])
    return {label: timing(workers[label], taken[label]) for label in workers}, absent
  finally:
    for worker in workers.values():
      worker.close()


def calibrate(worker: Worker, seconds: float) -> int:
  """How many units fill so many seconds."""
  units, taken = 1, worker.seconds(1)
  while taken < seconds / 4:
    units *= 2
    taken = worker.seconds(units)
  return max(1, round(units * seconds / taken))


def ticks() -> float:
  """Seconds that all cores together were busy since the machine started; 0 where nobody tells."""
  if not STATISTICS.exists():
    return 0.0
  user, nice, system, _, _, interrupts, soft, stolen, *_ = map(
    int, STATISTICS.read_text().splitlines()[0].split()[1:]
  )
  return (user + nice + system + interrupts + soft + stolen) / os.sysconf('SC_CLK_TCK')


class Neighbours:
  """Watches how much of the cores goes to processes that are not of this benchmark."""

  def __init__(self) -> None:
    self.began = self.now()

  def now(self) -> tuple[float, float]:
    """The time, and seconds of computing by others; ended workers' own is known."""
    own = sum(
      sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return time.perf_counter(), ticks() - own

  def share(self) -> float:
    """Of all cores, since this object was made; once all workers have ended."""
    (began, before), (ended, after) = self.began, self.now()
    return max(0.0, (after - before) / (ended - began) / os.cpu_count())


def timing(worker: Worker, taken: list[float]) -> Timing:
  """What the worker did, given the seconds that a unit took in each round."""
  about = worker.about
  return Timing(
    images_per_second=[about['images'] / s for s in taken],
    steps_per_second=[about['steps'] / s for s in taken],
    cpu_seconds=worker.computed[-len(taken) :],
    first_step=worker.first_step,
    first_call=about['first_call'],
    compile=max(0.0, about['first_call'] - statistics.median(taken)),
    peak_megabytes=worker.last['peak_megabytes'],
    imported_megabytes=about['imported_megabytes'],
    parameters=about['parameters'],
    flops=about['flops'],
    device=about['device'],
  )
