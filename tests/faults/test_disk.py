"""A full disk, a folder that cannot be written, a save that fails: one line, and nothing lost."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxgen.errors import UserError
from jaxgen.main import main
from jaxgen.training import checkpoint, sums
from tests.faults.processes import Process, command, contents, leftovers, run, state_digest

WIDE = {'network__hidden': '(500,)'}  # checkpoints much larger than logs


def numbers(workdir: Path) -> list[int]:
  """The steps saved."""
  return checkpoint.steps(workdir / 'checkpoints')


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
  """A file system of 6 MB of its own, where the system lets us have one."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', str(folder)]
  if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
    pytest.skip('this system does not let tests mount a file system')
  yield folder
  subprocess.run(['umount', str(folder)], check=True)


def assert_clear_error(code: int, text: str, *expected: str) -> None:
  """A failure in one message, without a traceback."""
  assert code == 2, text
  assert 'Traceback' not in text
  for part in ('jaxgen: ', *expected):
    assert part in text


@pytest.mark.slow
def test_files_that_may_not_grow_stop_the_run_and_lose_nothing(tmp_path: Path) -> None:
  workdir, output = tmp_path / 'run', tmp_path / 'output'
  process = Process(output, command('vae', workdir, **WIDE))
  process.wait_for('step 24/')
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (40_000, 40_000))
  assert_clear_error(process.wait(), process.output, 'cannot save the checkpoint of step')
  assert leftovers(workdir) == []
  kept = numbers(workdir)
  assert kept[-1] >= 10
  code, text = run(output, command('vae', workdir, **WIDE))
  assert (code, f'Resuming from step {kept[-1]} of 60' in text) == (0, True)
  assert run(tmp_path / 'other', command('vae', tmp_path / 'whole', **WIDE))[0] == 0
  assert state_digest(workdir) == state_digest(tmp_path / 'whole')


def test_a_full_disk_keeps_the_checkpoints_and_room_lets_the_run_go_on(
  small_disk: Path, tmp_path: Path, figure: Callable[[str], None]
) -> None:
  workdir, output = small_disk / 'run', tmp_path / 'output'
  process = Process(output, command('vae', workdir, **WIDE))
  process.wait_for('step 24/')
  filler = small_disk / 'filler'
  with filler.open('wb', buffering=0) as file:
    try:
      while file.write(bytes(4096)):
        pass
    except OSError:
      pass
  assert_clear_error(process.wait(), process.output)
  assert not list(workdir.rglob('unfinished*'))
  kept = numbers(workdir)
  for step in kept:
    assert sums.damage(workdir / 'checkpoints' / str(step)) is None
  code, text = run(tmp_path / 'full', command('vae', workdir, **WIDE))  # still full
  assert_clear_error(code, text)
  assert numbers(workdir) == kept
  filler.unlink()
  code, text = run(output, command('vae', workdir, **WIDE))
  assert code == 0, text
  assert leftovers(workdir) == []
  figure(f'{len(kept)} of {len(kept)} earlier checkpoints whole, 0 bytes left behind')


def test_a_workdir_that_turns_unwritable_is_a_clear_error(tmp_path: Path) -> None:
  workdir, output = tmp_path / 'run', tmp_path / 'output'
  process = Process(output, command('vae', workdir))
  process.wait_for('step 24/')
  shutil.move(workdir / 'checkpoints', tmp_path / 'aside')
  (workdir / 'checkpoints').write_text('no folder')
  assert_clear_error(process.wait(), process.output, 'checkpoints')
  (workdir / 'checkpoints').unlink()
  shutil.move(tmp_path / 'aside', workdir / 'checkpoints')
  assert run(output, command('vae', workdir))[0] == 0


def test_a_save_that_fails_in_the_background_surfaces_at_the_next(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  state = {'w': np.zeros(3, np.float32)}
  with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.save(1, state)
    checkpoints.wait()

    def fail(*arguments: object, **options: object) -> None:
      raise ValueError('RESOURCE_EXHAUSTED: the disk is full\nand here is a C++ stack')

    monkeypatch.setattr(ocp.Checkpointer, 'save', fail)
    checkpoints.save(2, state)
    with pytest.raises(UserError, match=r'checkpoint of step 2 .* RESOURCE_EXHAUSTED: the disk'):
      checkpoints.save(3, state)
  assert checkpoint.steps(tmp_path) == [1]


def test_a_failing_save_ends_training_with_one_line(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  def fail(*arguments: object, **options: object) -> None:
    raise RuntimeError('the network drive is gone')

  monkeypatch.setattr(ocp.Checkpointer, 'save', fail)
  code = main(command('vae', tmp_path / 'run', num_steps=20))
  error = capsys.readouterr().err
  assert_clear_error(code, error, 'cannot save the checkpoint of step 10', 'network drive is gone')


def test_samples_are_not_half_written(
  tmp_path: Path, reference: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
  workdir = tmp_path / 'run'
  shutil.copytree(reference('vae'), workdir)
  (workdir / 'samples.npz').mkdir()
  before = contents(workdir / 'checkpoints')
  assert_clear_error(
    main(['--mode=sample', f'--workdir={workdir}', '--num_samples=2']), capsys.readouterr().err
  )
  assert contents(workdir / 'checkpoints') == before
