"""Kept files: found again, never run, and never a reason to fail."""

import pickle
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from jaxgen.features import cache

ARRAYS = {'weights': np.arange(6, dtype=np.float32).reshape(2, 3), 'steps': np.array(7)}


def test_the_folder_is_the_systems_for_caches(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv('HOME', '/home/someone')
  for value in (None, ''):
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    if value is not None:
      monkeypatch.setenv('XDG_CACHE_HOME', value)
    assert cache.folder() == Path('/home/someone/.cache/jaxgen/features')
  monkeypatch.setenv('XDG_CACHE_HOME', '~/elsewhere')
  assert cache.folder() == Path('/home/someone/elsewhere/jaxgen/features')


def test_what_is_kept_is_found_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
  path = tmp_path / 'new' / 'folder' / 'kept.npz'
  assert cache.load(path) is None
  for factor in (1, 2):  # the second in place of the first
    cache.save(path, **{name: factor * array for name, array in ARRAYS.items()})
    found = cache.load(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
      np.testing.assert_array_equal(found[name], factor * array)
      assert found[name].dtype == array.dtype
  assert list(path.parent.iterdir()) == [path]  # nothing partial is left
  assert caplog.text == ''


class Trap:
  """Makes a folder if it is unpickled."""

  def __init__(self, path: Path) -> None:
    self.path = path

  def __reduce__(self) -> tuple:
    return Path.mkdir, (self.path,)


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'no array at all', None])
def test_a_damaged_file_is_as_none_and_said(
  content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
  path = tmp_path / 'kept.npz'
  cache.save(path, **ARRAYS)
  path.write_bytes(path.read_bytes()[:200] if content is None else content)
  assert cache.load(path) is None
  assert f'{path} is damaged' in caplog.text


def test_a_harmful_file_is_not_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
  sprung, path = tmp_path / 'sprung', tmp_path / 'kept.npz'
  np.savez(path, x=np.array([Trap(sprung)], object))
  assert cache.load(path) is None
  path.write_bytes(pickle.dumps(Trap(sprung)))
  assert cache.load(path) is None
  assert not sprung.exists()
  assert caplog.text.count('is damaged') == 2


def test_a_place_that_cannot_be_written_is_only_said(
  tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
  (tmp_path / 'file').write_text('no folder')
  path = tmp_path / 'file' / 'kept.npz'
  cache.save(path, **ARRAYS)
  assert f'cannot keep {path}' in caplog.text


def test_a_write_that_is_cut_short_leaves_what_was_there(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
  path = tmp_path / 'kept.npz'
  cache.save(path, **ARRAYS)

  def cut(file: BinaryIO, **_: np.ndarray) -> None:
    file.write(b'half')
    raise OSError('No space left on device')

  monkeypatch.setattr(cache.np, 'savez', cut)
  cache.save(path, weights=np.zeros(3))
  assert 'No space left' in caplog.text
  np.testing.assert_array_equal(cache.load(path)['weights'], ARRAYS['weights'])
