"""Runs that meet, move, last and start in strange surroundings."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxgen import configuration
from jaxgen.main import main
from jaxgen.training.writer import Writer
from tests.faults.processes import (
  ROOT,
  Process,
  command,
  contents,
  curve,
  records,
  run,
  state_digest,
)


def test_a_second_run_in_a_workdir_is_refused_until_the_first_is_gone(
  tmp_path: Path, reference: Callable[[str], Path], figure: Callable[[str], None]
) -> None:
  workdir = tmp_path / 'run'
  first = Process(tmp_path / 'first', command('vae', workdir))
  first.wait_for('step 12/')
  first.freeze()
  before = contents(workdir)
  second = Process(tmp_path / 'second', command('vae', workdir))
  assert second.wait(60) == 2
  figure(f'refused {time.monotonic() - second.started:.1f} s after its start')
  assert f'in use by process {first.pid} on {socket.gethostname()}' in second.output
  assert contents(workdir) == before
  first.signal(signal.SIGKILL)
  assert first.wait() == -signal.SIGKILL
  assert run(tmp_path / 'third', command('vae', workdir))[0] == 0
  assert state_digest(workdir) == state_digest(reference('vae'))


@pytest.mark.slow
def test_the_device_count_may_change_on_resume(
  tmp_path: Path, reference: Callable[[str], Path], figure: Callable[[str], None]
) -> None:
  workdir = tmp_path / 'run'
  two = (*command('vae', workdir, num_steps=30), '--config.cpu_devices=2')
  assert run(tmp_path / 'output', two)[0] == 0
  code, text = run(tmp_path / 'output', command('vae', workdir))
  assert (code, 'Resuming from step 30 of 60' in text) == (0, True)
  expected = dict(curve(reference('vae'), 'train/loss'))
  found = dict(curve(workdir, 'train/loss'))
  worst = max(abs(found[step] / expected[step] - 1.0) for step in expected)
  assert worst < 1e-5
  figure(f'losses within {worst:.0e} of those of one device')


def resident(process: Process) -> tuple[float, int]:
  """Resident memory in MB, without the pages of files, and open file descriptors."""
  status = Path(f'/proc/{process.pid}/status').read_text()
  memory = int(re.search(r'RssAnon:\s+(\d+) kB', status)[1]) / 1024
  return memory, len(os.listdir(f'/proc/{process.pid}/fd'))


@pytest.mark.parametrize(
  ('steps', 'every'), [(3_000, 250), pytest.param(20_000, 1_000, marks=pytest.mark.slow)]
)
@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='needs Linux')
def test_memory_and_file_descriptors_stay_flat(
  steps: int, every: int, tmp_path: Path, figure: Callable[[str], None]
) -> None:
  lengths = {'num_steps': steps, 'checkpoint__every': every, 'evaluation__every': every}
  process = Process(tmp_path / 'output', command('vae', tmp_path / 'run', log_every=10, **lengths))
  # What compilation gave back to the system is taken again by the first checkpoints and figures.
  process.wait_for(f'step {steps // 2}: validation')
  early, files = resident(process)
  process.wait_for(f'step {steps - every}: validation')
  late, files_late = resident(process)
  assert process.wait() == 0, process.output
  figure(
    f'{late / early - 1:+.1%} memory in {steps // 2} steps ({early:.0f} MB), {files_late} files'
  )
  assert late < 1.05 * early
  assert files_late <= files + 2
  kept = os.listdir(tmp_path / 'run' / 'checkpoints')
  assert len(kept) == 2


SURROUNDINGS = {
  'nothing writable, no cache': {'HOME': '/proc', 'XDG_CACHE_HOME': '/proc/cache'},
  'no home, no terminal, ASCII': {
    **{'HOME': '/nonexistent', 'TERM': 'dumb', 'COLUMNS': '1', 'LC_ALL': 'C'},
    **{'PYTHONUTF8': '0', 'PYTHONIOENCODING': 'ascii'},
  },
}


@pytest.mark.slow
@pytest.mark.parametrize('surroundings', SURROUNDINGS)
def test_strange_surroundings_are_survived(surroundings: str, tmp_path: Path) -> None:
  environment = {k: v for k, v in os.environ.items() if k != 'JAX_COMPILATION_CACHE_DIR'}
  fields = {'num_steps': 4, 'evaluation__every': 0, 'evaluation__batch_size': 20}
  result = subprocess.run(
    [sys.executable, '-m', 'jaxgen.main', *command('vae', tmp_path / 'run', **fields)],
    cwd=ROOT,
    env=environment | SURROUNDINGS[surroundings],
    capture_output=True,
    text=True,
    stdin=subprocess.DEVNULL,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  assert 'Traceback' not in result.stderr
  assert records(tmp_path / 'run')[-1]['step'] == 4


def test_a_clock_that_jumps_back_loses_no_curve(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  config = configuration.load(f'{ROOT}/experiments/vae.py', None, [])
  now = time.time()
  for start, clock in ((0, now), (3, now - 86_400), (6, now - 86_400), (9, 1.0)):
    monkeypatch.setattr(time, 'time', lambda clock=clock: clock)
    with Writer(tmp_path, config, start) as writer:
      for step in range(start + 1, start + 5):
        writer.scalars(step, {'loss': float(step)})
  assert curve(tmp_path, 'loss') == [(step, float(step)) for step in range(1, 14)]
  assert [record['step'] for record in records(tmp_path)] == list(range(1, 14))


def test_samples_and_checkpoints_hold_no_pickles(
  reference: Callable[[str], Path], tmp_path: Path
) -> None:
  workdir = tmp_path / 'run'
  shutil.copytree(reference('vae'), workdir)
  assert main(['--mode=sample', f'--workdir={workdir}', '--num_samples=3']) == 0
  with np.load(workdir / 'samples.npz', allow_pickle=False) as archive:
    assert archive['samples'].shape == (3, 8, 8, 1)
  for path in (workdir / 'checkpoints').rglob('*'):
    assert not (path.is_file() and path.read_bytes().startswith(b'\x80'))


def test_no_module_reads_what_could_run_code() -> None:
  unsafe = re.compile(
    r'import (pickle|marshal|shelve|dill|torch)\b|allow_pickle=True|yaml\.(unsafe_)?load'
    r'|(?<![.\w])(eval|exec)\(|shell=True'
  )
  for path in (ROOT / 'jaxgen').rglob('*.py'):
    if path.name != 'torch_file.py':  # whose unpickler calls nothing: tests/metrics
      assert not unsafe.search(path.read_text()), path
