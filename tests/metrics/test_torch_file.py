"""Weights saved by torch, read without torch: both layouts, damage, and harmful files."""

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxgen.features import torch_file

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}
ARRAYS = {
  'a.weight': np.arange(12, dtype=np.float32).reshape(3, 4),
  'b.count': np.array(7, np.int64),
  'c.half': np.linspace(0, 1, 5, dtype=np.float16),
}
STORAGES = {'float32': 'FloatStorage', 'int64': 'LongStorage', 'float16': 'HalfStorage'}


class Tensor:
  """Pickles as a tensor of torch does, with any view of its storage."""

  def __init__(self, array: np.ndarray, key: str, **view: Any) -> None:
    steps = tuple(step // array.itemsize for step in array.strides)
    self.array, self.key = array, key
    self.view = (view.get('offset', 0), view.get('shape', array.shape), view.get('strides', steps))

  def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
    rebuild = sys.modules['torch._utils']._rebuild_tensor_v2
    return rebuild, (Storage(self.array, self.key), *self.view, False, OrderedDict())


class Storage:
  def __init__(self, array: np.ndarray, key: str) -> None:
    self.array, self.key = array, key


class Pickler(pickle.Pickler):
  legacy = False

  def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
    if not isinstance(obj, Storage):
      return None
    kind = getattr(sys.modules['torch'], STORAGES[obj.array.dtype.name])
    identity = ('storage', kind, obj.key, 'cpu', obj.array.size)
    return (*identity, None) if self.legacy else identity


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
  """A stand-in with the names that pickles refer to."""
  package, utilities = types.ModuleType('torch'), types.ModuleType('torch._utils')
  for name in STORAGES.values():
    setattr(package, name, type(name, (), {'__module__': 'torch'}))

  def _rebuild_tensor_v2() -> None: ...

  _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
    'torch._utils',
    '_rebuild_tensor_v2',
  )
  utilities._rebuild_tensor_v2 = _rebuild_tensor_v2
  package._utils = utilities
  monkeypatch.setitem(sys.modules, 'torch', package)
  monkeypatch.setitem(sys.modules, 'torch._utils', utilities)


def tensors() -> OrderedDict[str, Any]:
  return OrderedDict((name, Tensor(a, str(i))) for i, (name, a) in enumerate(ARRAYS.items()))


def pickled(content: Any, legacy: bool = False) -> bytes:
  buffer = io.BytesIO()
  pickler = Pickler(buffer, protocol=2)
  pickler.legacy = legacy
  pickler.dump(content)
  return buffer.getvalue()


def as_zip(content: Any) -> bytes:
  """The layout of torch 1.6 and later."""
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    archive.writestr('archive/data.pkl', content if type(content) is bytes else pickled(content))
    archive.writestr('archive/byteorder', 'little')
    for i, array in enumerate(ARRAYS.values()):
      archive.writestr(f'archive/data/{i}', array.tobytes())
    archive.writestr('archive/version', '3\n')
  return buffer.getvalue()


def as_stream(content: Any) -> bytes:
  """The layout before it."""
  body = content if type(content) is bytes else pickled(content, legacy=True)
  head = b''.join(pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, SYSTEM))
  keys = pickle.dumps([str(i) for i in range(len(ARRAYS))], 2)
  runs = (struct.pack('<q', a.size) + a.tobytes() for a in ARRAYS.values())
  return head + body + keys + b''.join(runs)


LAYOUTS = pytest.mark.parametrize('layout', [as_zip, as_stream])
Layout = Callable[[Any], bytes]


@LAYOUTS
def test_reads_what_was_saved(layout: Layout, tmp_path: Path) -> None:
  path = tmp_path / 'weights.pth'
  path.write_bytes(layout(tensors()))
  read = torch_file.load(path)
  assert list(read) == list(ARRAYS)
  for name, array in ARRAYS.items():
    assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read[name], array)


@LAYOUTS
def test_reads_views_of_a_shared_storage(layout: Layout, tmp_path: Path) -> None:
  array = ARRAYS['a.weight']
  content = tensors()
  content['turned'] = Tensor(array, '0', shape=(4, 3), strides=(1, 4))
  content['part'] = Tensor(array, '0', offset=5, shape=(2,), strides=(4,))
  content['none'] = Tensor(array, '0', shape=(0, 3), strides=(3, 1))
  path = tmp_path / 'weights.pth'
  path.write_bytes(layout(content))
  read = torch_file.load(path)
  np.testing.assert_array_equal(read['turned'], array.T)
  np.testing.assert_array_equal(read['part'], [5.0, 9.0])
  assert read['none'].shape == (0, 3)


class Trap:
  """Runs a harmless command if it is unpickled by the usual means."""

  def __init__(self, function: Any, *arguments: Any) -> None:
    self.call = function, arguments

  def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
    return self.call


@LAYOUTS
@pytest.mark.parametrize('function', [os.mkdir, eval, exec, getattr, __import__])
def test_a_harmful_pickle_is_not_run(layout: Layout, function: Any, tmp_path: Path) -> None:
  sprung = tmp_path / 'sprung'
  argument = str(sprung) if function is os.mkdir else f'__import__("os").mkdir({str(sprung)!r})'
  for content in (Trap(function, argument), tensors() | {'x': Trap(function, argument)}):
    path = tmp_path / 'weights.pth'
    path.write_bytes(layout(content))
    name = f'{function.__module__}.{function.__name__}'.replace('builtins', '__builtin__')
    with pytest.raises(ValueError, match=f'it names {name}'):
      torch_file.load(path)
  assert not sprung.exists()


@LAYOUTS
def test_a_pickle_cannot_change_the_reader(layout: Layout, tmp_path: Path) -> None:
  """Setting attributes of the one function it may name changes a function made for that file."""
  poison = (
    b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b.'
  )
  path = tmp_path / 'weights.pth'
  path.write_bytes(layout(poison))
  with pytest.raises(ValueError, match=r'something else than a dictionary|do not agree'):
    torch_file.load(path)
  path.write_bytes(layout(tensors()))
  np.testing.assert_array_equal(torch_file.load(path)['b.count'], 7)


@LAYOUTS
def test_a_small_file_cannot_claim_much_memory(layout: Layout, tmp_path: Path) -> None:
  path = tmp_path / 'weights.pth'
  for body in (b'\x80\x02K\x01r\xff\xff\xff\xff.', b'\x80\x02B\xff\xff\xff\xff.'):
    path.write_bytes(layout(body))
    with pytest.raises(ValueError, match='cannot be read'):
      torch_file.load(path)


@LAYOUTS
@pytest.mark.parametrize(
  ('view', 'message'),
  [
    ({'offset': 1}, 'reaches beyond its 12 numbers'),
    ({'shape': (3, 5)}, 'reaches beyond its 12 numbers'),
    ({'shape': (10**9, 10**9), 'strides': (0, 0)}, 'reaches beyond its 12 numbers'),
    ({'offset': -1}, 'offset -1'),
    ({'strides': (-4, 1)}, r'strides \(-4, 1\)'),
    ({'strides': (4,)}, r'strides \(4,\)'),
    ({'shape': (3.0, 4)}, 'shape'),
  ],
)
def test_tensors_beyond_their_storage_are_refused(
  layout: Layout, view: dict[str, Any], message: str, tmp_path: Path
) -> None:
  path = tmp_path / 'weights.pth'
  path.write_bytes(layout(tensors() | {'a.weight': Tensor(ARRAYS['a.weight'], '0', **view)}))
  with pytest.raises(ValueError, match=message):
    torch_file.load(path)


@LAYOUTS
def test_damage_is_a_clear_error_wherever_it_is(layout: Layout, tmp_path: Path) -> None:
  whole = layout(tensors())
  path = tmp_path / 'weights.pth'
  generator = np.random.default_rng(0)
  for length in generator.integers(0, len(whole), 60):
    path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=r'weights\.pth cannot be read as weights saved by torch'):
      torch_file.load(path)
  for place in generator.integers(0, len(whole), 300):
    flipped = bytearray(whole)
    flipped[place] ^= 1 << generator.integers(8)
    path.write_bytes(flipped)
    try:
      torch_file.load(path)  # a flipped bit may be one of a number
    except ValueError as error:
      assert 'cannot be read as weights saved by torch' in str(error)  # noqa: PT017


def test_other_files_are_refused(tmp_path: Path) -> None:
  path = tmp_path / 'weights.pth'
  for content, message in (
    (as_zip([1, 2]), 'something else than a dictionary'),
    (as_zip(tensors() | {'epoch': 3}), 'something else than a dictionary'),
    (pickle.dumps({'a': 1}), 'does not begin as a file of torch.save'),
    (b'\x89PNG', 'cannot be read'),
    (as_zip(tensors()).replace(b'little', b'big---'), 'cannot be read'),
  ):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
      torch_file.load(path)
  with pytest.raises(ValueError, match='No such file'):
    torch_file.load(tmp_path / 'nowhere.pth')
