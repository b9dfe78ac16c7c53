"""Real processes for the fault tests: each runs one command line, and can be killed.

A fork server that has already imported JAX starts them, which saves seconds for each; nothing has
been computed before the fork, so a process is as fresh as one that a shell starts.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
  [
    'jaxgen.training.loop',
    'jaxgen.inference',
    'jaxgen.datasets.tfds',
    'sklearn.datasets',
    'tensorboardX.summary',
  ]
)
FRUGAL = {
  'num_steps': 60,
  'batch_size': 20,
  'steps_per_call': 2,
  'log_every': 4,
  'checkpoint.every': 10,
  'evaluation.every': 30,
  'evaluation.batch_size': 50,
  'evaluation.validation_images': 50,
  'evaluation.training_samples': 0,
  'checkpoint.best': 'validation/',
}
FAMILIES: dict[str, dict[str, Any]] = {
  'vae': {'network.hidden': 16},
  'gan': {'network.hidden': 16},
  'wgan': {'network.hidden': 16},
  'ddpm': {
    'network.channels': 8,
    'optimizer.warmup_steps': 10,
    'evaluation.bound_samples': 4,
    'objective.timesteps': 20,
    'sampler.steps': 4,
    'objective.schedule': 'cosine',
  },
}


def command(family: str, workdir: Path, **fields: Any) -> tuple[str, ...]:
  """The arguments that train a tiny model of a family; fields with `__` for a dot."""
  named = {name.replace('__', '.'): value for name, value in fields.items()}
  overrides = FRUGAL | FAMILIES[family] | named
  return (
    f'--config={ROOT}/experiments/{family}.py',
    f'--workdir={workdir}',
    *(f'--config.{name}={value}' for name, value in overrides.items()),
  )


class Process:
  """`python -m jaxgen.main` with these arguments, its output added to a file."""

  def __init__(
    self, output: Path, arguments: tuple[str, ...], before: Callable[[], None] | None = None
  ) -> None:
    self.path = output
    self.path.touch()
    self.started = time.monotonic()
    self._process = CONTEXT.Process(target=child, args=(str(output), arguments, before))
    self._process.start()
    self.pid = self._process.pid

  @property
  def output(self) -> str:
    """What was written to stdout and stderr so far, by this and earlier runs."""
    return self.path.read_text()

  @property
  def running(self) -> bool:
    """Whether it has not ended yet."""
    return self._process.is_alive()

  def signal(self, number: int) -> None:
    """Sends a signal, if it still runs."""
    if self.running:
      os.kill(self.pid, number)

  def freeze(self) -> None:
    """Stops it where it stands; where /proc tells, returns once every thread has stopped."""
    self.signal(signal.SIGSTOP)
    while any(state not in 'TZ' for state in self._thread_states()):
      time.sleep(0.002)

  def _thread_states(self) -> Iterator[str]:
    """Linux's letter for each thread: T stopped, Z ended, others run or wait."""
    for stat in Path(f'/proc/{self.pid}/task').glob('*/stat'):
      with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end now
        yield stat.read_text().rpartition(') ')[2][0]

  def wait(self, seconds: float = 300) -> int:
    """Its exit code; minus the signal's number if one ended it."""
    self._process.join(seconds)
    if self.running:
      self._process.kill()
      raise TimeoutError(f'still running after {seconds} s:\n{self.output}')
    return self._process.exitcode

  def wait_for(self, text: str, seconds: float = 300) -> None:
    """Returns once the output holds a text, or the process has ended."""
    while text not in self.output and self.running:
      if time.monotonic() > self.started + seconds:
        raise TimeoutError(f'{text!r} never came:\n{self.output}')
      time.sleep(0.002)


def child(output: str, arguments: tuple[str, ...], before: Callable[[], None] | None) -> None:
  """What the new process runs."""
  signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  os.dup2(file, 1)
  os.dup2(file, 2)
  sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w', buffering=1)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  if before:
    before()
  from jaxgen.main import main

  sys.exit(main(arguments))


def run(output: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
  """Runs a command line to its end: exit code, and all of the output file."""
  process = Process(output, arguments)
  return process.wait(), process.output


def state_digest(workdir: Path, step: int = FRUGAL['num_steps']) -> str:
  """SHA-256 over every array of a checkpoint: step, parameters, optimizer state, average."""
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
    tree = orbax.restore(workdir / 'checkpoints' / str(step))
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(leaf)
    digest.update(f'{jax.tree_util.keystr(path)}{array.dtype}{array.shape}'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def records(workdir: Path) -> list[dict[str, Any]]:
  """The lines of metrics.jsonl, without what depends on the clock and the machine."""
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  return [{k: v for k, v in line.items() if k == 'step' or '/' in k} for line in lines]


def curve(workdir: Path, name: str) -> list[tuple[int, float]]:
  """A curve as TensorBoard shows it, from all event files of a run."""
  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

  events = EventAccumulator(str(workdir), size_guidance={'scalars': 0})
  events.Reload()
  return [(event.step, event.value) for event in events.Scalars(name)]


def leftovers(workdir: Path) -> list[str]:
  """Files of unfinished writing that a finished run should not have left behind."""
  names = (path.name for path in workdir.rglob('*'))
  return [name for name in names if name.startswith('unfinished') or name.endswith('.partial')]


def contents(folder: Path) -> dict[str, str]:
  """SHA-256 of every file below a folder but the lock."""
  return {
    str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(folder.rglob('*'))
    if path.is_file() and path.name != '.lock'
  }
