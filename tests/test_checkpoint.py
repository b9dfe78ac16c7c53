"""What a folder of checkpoints holds, in what order, and what is said of what does not fit."""

import logging
import shutil
import threading
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxgen.devices import parallel
from jaxgen.errors import UserError
from jaxgen.training import checkpoint, sums
from jaxgen.training.checkpoint import Checkpoints


def state(step: int) -> dict[str, Any]:
  """A state that tells which step it is of."""
  return {'params': {'w': np.full((3, 2), step, np.float32)}, 'step': np.array(step, np.int32)}


def test_steps_are_numbers_in_order(tmp_path: Path) -> None:
  assert checkpoint.steps(tmp_path / 'nowhere') == []
  for name in ('9', '10', '100', '2', 'unfinished', '7.tmp', '-3', '٣', '.4', '020'):
    (tmp_path / name).mkdir()
  assert checkpoint.steps(tmp_path) == [2, 9, 10, 100]


def test_the_newest_are_kept_and_come_back(tmp_path: Path) -> None:
  folder = tmp_path / 'run' / 'checkpoints'
  with Checkpoints(folder, keep=2) as checkpoints:
    assert checkpoints.restore(state(0)) is None
    for step in (9, 10, 100):
      checkpoints.save(step, state(step))
    found = checkpoints.restore(state(0))
  assert checkpoint.steps(folder) == [10, 100]
  for name, leaf in (('w', found['params']['w']), ('step', found['step'])):
    assert isinstance(leaf, np.ndarray), name
    assert (leaf == 100).all()
  assert found['params']['w'].shape == (3, 2)
  assert not list(folder.glob('unfinished*'))


class Pair(NamedTuple):
  """Part of a state, as optax's are."""

  first: np.ndarray
  second: tuple[np.ndarray, ...]


def test_a_state_comes_back_in_its_own_structure(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.chdir(tmp_path)  # and by a relative path, which Orbax takes for another
  with Checkpoints(Path('checkpoints'), keep=1) as checkpoints:
    assert (tmp_path / 'checkpoints').is_dir()
    checkpoints.save(1, Pair(np.ones(2), (np.zeros(1), np.full(3, 7))))
  template = Pair(np.empty(2), (np.empty(1), np.empty(3, np.int64)))
  found = checkpoint.restore(Path('checkpoints'), template)[0]
  assert isinstance(found, Pair)
  assert found.second[1].tolist() == [7, 7, 7]


def test_a_step_is_not_saved_twice(tmp_path: Path) -> None:
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.save(1, state(1))
    checkpoints.save(1, state(2))
    assert checkpoints.restore(state(0))['step'] == 1


def test_all_is_safe_and_no_thread_is_left_at_the_end(tmp_path: Path) -> None:
  before = set(threading.enumerate())
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.save(1, state(1))
  assert sums.damage(tmp_path / '1') is None
  left = {thread.name for thread in set(threading.enumerate()) - before}
  assert not [name for name in left if name.startswith('ThreadPoolExecutor')]


def test_the_best_is_one_step_and_outlives_the_last(tmp_path: Path) -> None:
  best = tmp_path / 'best'
  (best / 'unfinished').mkdir(parents=True)
  (best / 'unfinished' / 'half').write_text('of a killed run')
  with Checkpoints(tmp_path / 'checkpoints', keep=1) as checkpoints:
    checkpoints.save(1, state(1))
    checkpoints.keep_best(1)  # waits until it is saved
    checkpoints.save(2, state(2))
    checkpoints.wait()
    assert checkpoint.steps(tmp_path / 'checkpoints') == [2]
    assert checkpoint.restore(best, state(0))[0]['step'] == 1
    for _ in range(2):  # as after a resume
      checkpoints.keep_best(2)
      assert [path.name for path in best.iterdir()] == ['2']
      assert sums.damage(best / '2') is None
  there = (tmp_path / 'checkpoints' / '2' / sums.SUMS).stat()
  assert (best / '2' / sums.SUMS).stat().st_ino == there.st_ino  # takes no room


def test_the_best_is_kept_where_a_file_has_one_name_alone(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def refuse(*_: object, **__: object) -> None:
    raise PermissionError('no hard links here')

  monkeypatch.setattr('os.link', refuse)
  with Checkpoints(tmp_path / 'checkpoints', keep=1) as checkpoints:
    checkpoints.save(1, state(1))
    checkpoints.keep_best(1)
  assert sums.damage(tmp_path / 'best' / '1') is None


def test_who_reads_a_step_that_is_pruned_never_finds_half_of_it(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  seen, rmtree = [], shutil.rmtree

  def look(path: Path, *arguments: object, **options: object) -> None:
    seen.append((Path(path).name, checkpoint.steps(tmp_path)))
    rmtree(path, *arguments, **options)

  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(1, state(1))
    checkpoints.wait()
    monkeypatch.setattr(shutil, 'rmtree', look)
    checkpoints.save(2, state(2))
    checkpoints.wait()
  assert seen[-1] == ('unfinished-1', [2])  # its number is gone before its files
  assert sorted(path.name for path in tmp_path.iterdir()) == ['2']


def test_a_step_that_the_training_run_prunes_is_no_damage(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  """Whoever reads the folder meanwhile gets the newer one, whenever the older goes."""
  for part in ('damage', 'read'):
    folder = tmp_path / part
    with Checkpoints(folder, keep=3) as checkpoints:
      checkpoints.save(5, state(5))
    usual, calls = getattr(checkpoint, part), []

    def prune(
      path: Path, *rest: Any, usual: Any = usual, calls: list = calls, folder: Path = folder
    ) -> Any:
      calls.append(path.name)
      if path.name == '5':
        (folder / '5').rename(folder / '6')
      return usual(path, *rest)

    monkeypatch.setattr(checkpoint, part, prune)
    found, damaged = checkpoint.restore(folder, state(0))
    assert (found['step'], damaged, calls) == (5, {}, ['5', '6'])
    monkeypatch.undo()


def test_of_many_differences_five_are_listed(tmp_path: Path) -> None:
  here, there = ({name: kind for name in 'abcdefg'} for kind in ('int8[]', 'int8[2]'))
  checkpoint.compare(here, dict(here), tmp_path)
  for count in (1, 5, 6, 7):
    found = {name: here[name] for name in list(here)[:count]}
    with pytest.raises(UserError) as raised:
      checkpoint.compare(found, dict(list(there.items())[:count]), tmp_path)
    listed = [line for line in str(raised.value).splitlines() if line.startswith('  ')]
    expected = [f'  {name}: int8[] there, int8[2] expected' for name in 'abcde'[:count]]
    assert listed == expected + [f'  and {count - 5} more'] * (count > 5)


def test_arrays_that_only_one_side_has_are_told(tmp_path: Path) -> None:
  with pytest.raises(UserError) as raised:
    checkpoint.compare({'b': 'int8[]'}, {'a': 'int8[]'}, tmp_path)
  assert 'a: nothing there, int8[] expected\n  b: int8[] there, nothing exp' in str(raised.value)


@pytest.mark.parametrize(
  ('error', 'reason'),
  [
    ('RESOURCE_EXHAUSTED: full [source locations=x.cc:1]\nstack', 'RESOURCE_EXHAUSTED: full'),
    ('array b: Failed writing /a: No space', 'Failed writing /a: No space'),
    ('', 'RuntimeError'),
    ('x' * 1000, 'x' * 400),
  ],
)
def test_a_save_that_fails_says_why_in_a_line_and_leaves_nothing(
  error: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def fail(_: Any, path: Path, **__: Any) -> None:
    path.mkdir()
    (path.parent / 'unfinished.orbax-checkpoint-tmp').mkdir()
    raise RuntimeError(error)

  monkeypatch.setattr(ocp.Checkpointer, 'save', fail)
  checkpoints = Checkpoints(tmp_path, keep=1)
  checkpoints.save(3, state(3))
  with pytest.raises(UserError) as raised:
    checkpoints.wait()
  first = str(raised.value).splitlines()[0]
  assert first == f'cannot save the checkpoint of step 3 in {tmp_path}: {reason}'
  assert list(tmp_path.iterdir()) == []
  checkpoints.wait()  # it was told once
  checkpoints.save(4, state(4))
  with pytest.raises(UserError, match='cannot save the checkpoint of step 4'), checkpoints:
    pass  # the end tells it as well


def test_what_orbax_still_writes_is_cleared_in_the_end(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
  (tmp_path / 'unfinished').mkdir()
  usual, waited = shutil.rmtree, []

  def remove(path: Path, ignore_errors: bool = False) -> None:
    if not ignore_errors:
      raise FileNotFoundError('a writer has just taken its file away')
    if len(waited) >= 10:
      usual(path)

  monkeypatch.setattr(checkpoint.shutil, 'rmtree', remove)
  monkeypatch.setattr(checkpoint.time, 'sleep', waited.append)
  with Checkpoints(tmp_path, keep=1):
    assert list(tmp_path.iterdir()) == []
  assert 0.5 < sum(waited) < 5
  assert caplog.text == ''


def test_a_damaged_step_takes_the_place_of_one_set_aside_before(
  tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
  folder = tmp_path / 'checkpoints'
  for _ in range(2):
    with Checkpoints(folder, keep=3) as checkpoints:
      checkpoints.save(1, state(1))
      checkpoints.save(2, state(2))
      checkpoints.wait()
      (folder / '2' / '_METADATA').write_text('x')
      assert checkpoints.restore(state(0))['step'] == 1
    assert checkpoint.steps(folder) == [1]
    assert [path.name for path in (tmp_path / 'damaged').iterdir()] == ['2']
  said = f'step 2 in {folder} is damaged: _METADATA is not as it was written'
  assert caplog.text.count(said) == 2
  assert caplog.text.count(f'checkpoint of step 2 to {tmp_path}/damaged/2') == 2


def test_whole_sums_of_what_orbax_cannot_read_are_told(tmp_path: Path) -> None:
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(1, state(1))
  (tmp_path / '1' / '_METADATA').write_text('x')
  with pytest.raises(UserError, match=f'cannot read {tmp_path}/1, whose sums are right'):
    checkpoint.read(tmp_path / '1', state(0))


def test_only_the_one_complaint_of_threads_is_dropped() -> None:
  passed: list[Any] = []
  for error in (RuntimeError('Event loop is closed'), RuntimeError('a bug')):
    checkpoint.unraisable(SimpleNamespace(exc_value=error), passed.append)
  assert [str(details.exc_value) for details in passed] == ['a bug']


def test_orbax_logs_no_traceback_of_what_it_raises(caplog: pytest.LogCaptureFixture) -> None:
  log = logging.getLogger('absl')
  caplog.set_level(logging.WARNING, 'absl')  # which readers of data may have raised
  log.warning('a word')
  try:
    raise ValueError('in a thread')
  except ValueError:
    log.exception('with its traceback')
  assert [record.message for record in caplog.records] == ['a word']


def test_an_older_state_is_read_under_todays_names(tmp_path: Path) -> None:
  """What is the memory today was called the optimizers' state."""
  before = namedtuple('TrainState', ('step', 'params', 'opt_state', 'ema'))
  values = np.int32(7), {'w': np.ones(3)}, ({'count': np.int32(2)}, np.zeros(3)), {'w': np.ones(3)}
  with checkpoint.Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(7, before(*values))
  found, damaged = checkpoint.restore(tmp_path, parallel.TrainState(*values))
  assert not damaged
  assert type(found) is parallel.TrainState
  assert found.memory[0]['count'] == 2
  np.testing.assert_array_equal(found.memory[1], 0.0)
  other = parallel.TrainState(*values)._replace(memory=({'count': np.int32(2)}, np.zeros(4)))
  with pytest.raises(UserError, match=r'\.opt_state\[1\]: float64\[3\] there, float64\[4\]'):
    checkpoint.restore(tmp_path, other)
