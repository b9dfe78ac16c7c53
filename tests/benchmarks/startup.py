"""Seconds from the start of a process to its first step, with and without compiled programs."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.interleave import Failed

EXPERIMENTS = ('vae', 'gan', 'wgan', 'ddpm')


class Start(NamedTuple):
  """One start of `python -m jaxgen.main`.

  Attributes:
    experiment: its file.
    cold: whether the compilation cache was empty.
    seconds: until the line that reports the first dispatch of updates.
  """

  experiment: str
  cold: bool
  seconds: float


def starts(experiments: Sequence[str], rounds: int) -> Iterator[Start]:
  """These experiments on the digits, with an empty cache and then with the one it has filled."""
  for name in experiments:
    for _ in range(rounds):
      with tempfile.TemporaryDirectory() as folder:
        for cold in (True, False):
          yield Start(name, cold, first_step(name, Path(folder), 'cold' if cold else 'warm'))


def first_step(experiment: str, folder: Path, run: str) -> float:
  """Starts a run and stops it as soon as it tells of a step.

  Raises:
    Failed: it ended before.
  """
  fields = ('log_every=1', 'steps_per_call=1', 'checkpoint.every=0', 'evaluation.every=0')
  command = [
    *(sys.executable, '-m', 'jaxgen.main', f'--config=experiments/{experiment}.py'),
    f'--workdir={folder / run}',
    *(f'--config.{field}' for field in fields),
  ]
  environment = os.environ | {'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache')}
  began = time.perf_counter()
  with (folder / f'{run}.errors').open('w+') as errors:
    process = subprocess.Popen(
      command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
    )
    try:
      for line in process.stdout:
        if line.startswith('step '):
          return time.perf_counter() - began
      errors.seek(0)
      raise Failed((errors.read().strip().splitlines() or ['no message'])[-1])
    finally:
      process.send_signal(signal.SIGKILL)
      process.wait()
      process.stdout.close()
