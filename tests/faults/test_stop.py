"""SIGTERM, Ctrl-C and closed outputs: saved, stopped in seconds, and resumed to the bit."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import ROOT, Process, command, curve, run, state_digest


@pytest.mark.parametrize(
  ('number', 'mark'),
  [
    (signal.SIGTERM, 'step 16/'),  # in a step
    (signal.SIGINT, 'step 30/'),  # in the evaluation that follows
    (signal.SIGTERM, 'workdir'),  # while compiling
  ],
  ids=['SIGTERM in a step', 'SIGINT in an evaluation', 'SIGTERM in compilation'],
)
def test_a_signal_saves_the_current_step_and_stops(
  number: signal.Signals,
  mark: str,
  tmp_path: Path,
  reference: Callable[[str], Path],
  figure: Callable[[str], None],
) -> None:
  workdir, output = tmp_path / 'run', tmp_path / 'output'
  arguments = command('vae', workdir)
  process = Process(output, arguments)
  process.wait_for(mark)
  sent = time.monotonic()
  process.signal(number)
  assert process.wait(10) == 128 + number, process.output
  figure(f'{time.monotonic() - sent:.2f} s to stop')
  said = re.search(rf'{number.name}: stopped at step (\d+), which is saved', process.output)
  step = int(said[1])
  assert step == 0 or (workdir / 'checkpoints' / str(step)).is_dir()
  assert 'Traceback' not in process.output
  code, text = run(output, arguments)
  assert code == 0
  assert step == 0 or f'Resuming from step {step} of' in text
  assert state_digest(workdir) == state_digest(reference('vae'))
  validation = 'validation/elbo_bernoulli_surrogate_nats'
  assert curve(workdir, validation) == curve(reference('vae'), validation)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, figure: Callable[[str], None]) -> None:
  arguments = command('vae', tmp_path / 'run')
  process = Process(tmp_path / 'output', arguments, before=sleep_in_an_update)
  process.wait_for('asleep')
  process.signal(signal.SIGINT)
  process.wait_for('SIGINT: saving after this step')
  sent = time.monotonic()
  process.signal(signal.SIGINT)
  assert process.wait(10) == 128 + signal.SIGINT
  figure(f'{time.monotonic() - sent:.2f} s to stop')


def sleep_in_an_update() -> None:
  """Makes the third update of a process take a minute."""
  from jaxgen.devices import parallel

  build = parallel.train_steps

  def train_steps(*arguments: Any) -> Callable[..., Any]:
    update, calls = build(*arguments), []

    def slow(*arguments: Any) -> Any:
      calls.append(arguments)
      if len(calls) == 3:
        print('asleep', flush=True)
        time.sleep(60)
      return update(*arguments)

    slow.lower = update.lower
    return slow

  parallel.train_steps = train_steps


def test_a_closed_stdout_saves_and_stops(tmp_path: Path) -> None:
  arguments = [sys.executable, '-m', 'jaxgen.main', *command('vae', tmp_path / 'run')]
  first = subprocess.Popen(
    arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )
  for line in first.stdout:  # as `| head` does
    if line.startswith('step 4/'):
      break
  first.stdout.close()
  errors = first.stderr.read()
  first.stderr.close()
  assert first.wait(60) == 128 + signal.SIGPIPE
  assert re.fullmatch(r'jaxgen: SIGPIPE: stopped at step \d+, which is saved; .*\n', errors)
  code, text = run(tmp_path / 'output', command('vae', tmp_path / 'run'))
  assert (code, 'Resuming from step' in text) == (0, True)
