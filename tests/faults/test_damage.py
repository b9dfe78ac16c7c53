"""Damaged checkpoints: detected, named, set aside, and trained again from an older one."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen.errors import UserError
from jaxgen.main import main
from jaxgen.training import checkpoint, sums
from tests.faults.processes import command, contents, records, run, state_digest

STATE = {
  'params': {'w': np.arange(3000, dtype=np.float32).reshape(50, 60), 'b': np.ones(7, np.float32)},
  'step': np.array(0, np.int32),
}


def at(step: int) -> dict:
  """A state that tells which step it is of."""
  return STATE | {'step': np.array(step, np.int32)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
  """Three checkpoints, of steps 10, 20 and 30."""
  with checkpoint.Checkpoints(tmp_path / 'run' / 'checkpoints', keep=3) as checkpoints:
    for step in (10, 20, 30):
      checkpoints.save(step, at(step))
  return tmp_path / 'run' / 'checkpoints'


def largest(step: Path) -> Path:
  """The file that holds most of the arrays."""
  return max((p for p in step.rglob('*') if p.is_file()), key=lambda path: path.stat().st_size)


def flip(path: Path, bit: int) -> None:
  """Flips one bit of a file."""
  content = bytearray(path.read_bytes())
  content[bit // 8] ^= 1 << bit % 8
  path.write_bytes(content)


def each_file(action: Callable[[Path], object]) -> Callable[[Path], None]:
  """Does something to every file of a step."""

  def act(step: Path) -> None:
    for path in [p for p in step.rglob('*') if p.is_file()]:
      action(path)

  return act


DAMAGES: dict[str, Callable[[Path], object]] = {
  'arrays truncated': lambda step: largest(step).write_bytes(largest(step).read_bytes()[:100]),
  'arrays emptied': lambda step: largest(step).write_bytes(b''),
  'arrays missing': lambda step: largest(step).unlink(),
  'arrays flipped': lambda step: flip(largest(step), 8 * 500 + 3),
  'arrays longer': lambda step: largest(step).write_bytes(largest(step).read_bytes() + b'\0'),
  'sums missing': lambda step: (step / sums.SUMS).unlink(),
  'sums emptied': lambda step: (step / sums.SUMS).write_bytes(b''),
  'sums cut': lambda step: (step / sums.SUMS).write_text(
    ''.join((step / sums.SUMS).read_text().splitlines(keepends=True)[:3])
  ),
  'sums garbled': lambda step: (step / sums.SUMS).write_bytes(b'\xff\xfe\0' * 50),
  'shapes changed': lambda step: (step / checkpoint.ARRAYS).write_text('{}'),
  'metadata cut': lambda step: (step / '_METADATA').write_text('{"tree_meta'),
  'all files emptied': each_file(lambda path: path.write_bytes(b'')),
  'all files missing': each_file(Path.unlink),
  'a file in its place': lambda step: (shutil.rmtree(step), step.write_text('x')),
  'a folder emptied': lambda step: (shutil.rmtree(step), step.mkdir()),
  'another step copied half': lambda step: (
    shutil.rmtree(step / 'd'),
    shutil.copytree(step.parent / '20' / 'd', step / 'd'),
  ),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_step_is_set_aside_and_can_be_saved_again(
  damage: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
  DAMAGES[damage](folder / '30')
  with checkpoint.Checkpoints(folder, keep=3) as checkpoints:
    assert checkpoints.restore(STATE)['step'] == 20
    assert 'step 30' in caplog.text
    assert 'damaged' in caplog.text
    assert (folder.parent / 'damaged' / '30').exists()
    checkpoints.save(30, at(30))
  assert checkpoint.restore(folder, STATE)[0]['step'] == 30


@pytest.mark.parametrize('tries', [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_flipped_bit_is_ever_loaded(
  folder: Path, tries: int, figure: Callable[[str], None]
) -> None:
  chance = random.Random(0)  # noqa: S311
  files = [path for path in (folder / '30').rglob('*') if path.is_file()]
  sizes = [path.stat().st_size for path in files]
  caught = 0
  for _ in range(tries):
    path = chance.choices(files, sizes)[0]
    bit = chance.randrange(8 * path.stat().st_size)
    flip(path, bit)
    state, damaged = checkpoint.restore(folder, STATE)
    caught += state['step'] == 20 and list(damaged) == [30]
    flip(path, bit)
  assert caught == tries
  assert checkpoint.restore(folder, STATE)[0]['step'] == 30
  figure(f'{caught} of {tries} flipped bits caught; {len(DAMAGES)} other damages, all caught')


def test_all_damaged_is_an_error_that_touches_nothing(folder: Path) -> None:
  for step, damage in zip(
    (10, 20, 30), ('sums cut', 'arrays flipped', 'a folder emptied'), strict=True
  ):
    DAMAGES[damage](folder / str(step))
  before = contents(folder)
  with checkpoint.Checkpoints(folder, keep=3) as checkpoints, pytest.raises(UserError) as raised:
    checkpoints.restore(STATE)
  for step in (10, 20, 30):
    assert f'\n  step {step}: ' in str(raised.value)
  assert contents(folder) == before


def test_what_a_killed_save_left_is_no_checkpoint_and_is_cleared(tmp_path: Path) -> None:
  folder = tmp_path / 'checkpoints'
  for name in ('unfinished', 'unfinished.orbax-checkpoint-tmp'):
    (folder / name / 'd').mkdir(parents=True)
    (folder / name / 'd' / 'half').write_bytes(bytes(1000))
  with checkpoint.Checkpoints(folder, keep=2) as checkpoints:
    assert checkpoints.restore(STATE) is None
    assert list(folder.iterdir()) == []
    for step in (1, 2, 3):
      checkpoints.save(step, at(step))
  assert sorted(path.name for path in folder.iterdir()) == ['2', '3']


def test_what_cannot_be_cleared_is_named(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
  stuck = tmp_path / 'checkpoints' / 'unfinished'
  stuck.mkdir(parents=True)
  monkeypatch.setattr(checkpoint.shutil, 'rmtree', lambda *_, **__: None)
  monkeypatch.setattr(checkpoint.time, 'sleep', lambda _: None)
  with checkpoint.Checkpoints(stuck.parent, keep=2):
    assert str(stuck) in caplog.text


def test_another_architecture_is_named_and_left_alone(folder: Path) -> None:
  before = contents(folder)
  other = {'params': {'w': np.zeros((50, 61), np.float32)}, 'step': np.array(0, np.int64)}
  with pytest.raises(UserError) as raised:
    checkpoint.restore(folder, other)
  assert "['params']['w']: float32[50, 60] there, float32[50, 61] expected" in str(raised.value)
  assert "['step']: int32[] there, int64[] expected" in str(raised.value)
  assert contents(folder) == before


@given(
  content=st.binary(max_size=200), name=st.sampled_from(['SHA256SUMS', '_METADATA', 'arrays.json'])
)
def test_garbled_files_only_raise_user_errors(
  content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
  folder = tmp_path_factory.mktemp('checkpoints')
  (folder / '7').mkdir()
  (folder / '7' / name).write_bytes(content)
  lines = ''.join(f'{digest}  {file}\n' for file, digest in sums.digests(folder / '7').items())
  if name != sums.SUMS:  # as an adversary would
    (folder / '7' / sums.SUMS).write_text(lines)
  with pytest.raises(UserError):
    checkpoint.restore(folder, STATE)


@pytest.mark.slow
def test_training_goes_on_from_an_older_step_to_the_same_end(
  tmp_path: Path, reference: Callable[[str], Path]
) -> None:
  workdir = tmp_path / 'run'
  shutil.copytree(reference('vae'), workdir)
  flip(largest(workdir / 'checkpoints' / '60'), 8000)
  code, text = run(tmp_path / 'output', command('vae', workdir))
  assert code == 0, text
  assert 'the checkpoint of step 60 in' in text
  assert 'Resuming from step 50 of 60' in text
  assert state_digest(workdir) == state_digest(reference('vae'))
  assert records(workdir) == records(reference('vae'))


@pytest.mark.slow
def test_training_refuses_to_start_over_when_all_are_damaged(
  tmp_path: Path, reference: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
  workdir = tmp_path / 'run'
  shutil.copytree(reference('vae'), workdir)
  for step in (50, 60):
    flip(largest(workdir / 'checkpoints' / str(step)), 8000)
  before = contents(workdir / 'checkpoints')
  for arguments in (command('vae', workdir), ('--mode=sample', f'--workdir={workdir}')):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert 'is whole; none of them was touched' in error
    assert 'Traceback' not in error
  assert contents(workdir / 'checkpoints') == before
  assert records(workdir) == records(reference('vae'))
