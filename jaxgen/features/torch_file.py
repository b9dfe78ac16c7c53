"""Reads arrays out of a file of `torch.save` without torch, and without running what is in it.

A `.pth` file is a pickle, and a pickle can name any function to be called. Here it can name only
what a dictionary of tensors needs, and none of that is code of the file's choosing: numbers are
read by NumPy, at places that are checked to lie within the file. Both layouts are read: the zip
archive (torch 1.6 and later) and the older stream of pickles.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C  # begins the older layout
_PROTOCOL = 1001

_STORAGES = {
  'DoubleStorage': '<f8',
  'FloatStorage': '<f4',
  'HalfStorage': '<f2',
  'LongStorage': '<i8',
  'IntStorage': '<i4',
  'ShortStorage': '<i2',
  'CharStorage': '<i1',
  'ByteStorage': '<u1',
  'BoolStorage': '?',
}


class _Storage(NamedTuple):
  """A flat run of numbers, kept elsewhere in the file under a key."""

  key: str
  dtype: np.dtype
  count: int


class _Tensor(NamedTuple):
  """A view of a storage, until the storage is read."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]  # in elements


class _Unpickler(pickle._Unpickler):
  """Knows dictionaries, tensors and storages, and refuses to look up anything else.

  The one written in Python: the one in C keeps its memo in an array, which a few bytes of a damaged
  file make larger than the machine.
  """

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ('collections', 'OrderedDict'):
      return OrderedDict
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      # Made anew each time: a pickle can set attributes of what it is given.
      return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
    if module == 'torch' and name in _STORAGES:
      return name
    raise ValueError(
      f'it names {module}.{name}, which no dictionary of tensors needs, so nothing of it is used; '
      'a file of another kind (a whole model, TorchScript), or a harmful one'
    )

  def persistent_load(self, identity: Any) -> _Storage:
    kind, storage, key, _, count = identity[:5]
    if kind != 'storage' or any(part is not None for part in identity[5:]):
      raise ValueError(f'it holds a {kind!r} of a form that is not read')
    return _Storage(str(key), np.dtype(_STORAGES[storage]), int(count))


def _array(tensor: _Tensor, read: Callable[[_Storage], bytes]) -> np.ndarray:
  """The tensor's numbers, after checking that all of them lie within its storage."""
  storage, offset, shape, strides = tensor
  content = np.frombuffer(read(storage), storage.dtype)
  whole = [offset, *shape, *strides]
  if not all(type(n) is int and n >= 0 for n in whole) or len(shape) != len(strides):
    raise ValueError(f'a tensor has offset {offset}, shape {shape} and strides {strides}')
  if math.prod(shape) == 0:
    return np.empty(shape, storage.dtype)
  last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
  # A stride of zero could repeat a few bytes into more memory than there is.
  if last >= len(content) or math.prod(shape) > len(content):
    raise ValueError(f'a tensor of shape {shape} reaches beyond its {len(content)} numbers')
  steps = tuple(stride * storage.dtype.itemsize for stride in strides)
  return np.lib.stride_tricks.as_strided(content[offset:], shape, steps).copy()


def _read_zip(file: BinaryIO) -> tuple[Any, Callable[[_Storage], bytes]]:
  """The pickled object of the zip layout, and how to read a storage."""
  archive = zipfile.ZipFile(file)
  if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
    raise ValueError('its entries are compressed, which torch never does')
  (index,) = [name for name in archive.namelist() if name.split('/')[1:] == ['data.pkl']]
  folder = index.removesuffix('data.pkl')
  if f'{folder}byteorder' in archive.namelist():
    order = archive.read(f'{folder}byteorder')
    if order != b'little':
      raise ValueError(f'its byte order is {order!r}; only b"little" is read')

  def read(storage: _Storage) -> bytes:
    content = archive.read(f'{folder}data/{storage.key}')
    return content[: storage.count * storage.dtype.itemsize]

  return _Unpickler(io.BytesIO(archive.read(index))).load(), read


def _read_stream(file: BinaryIO) -> tuple[Any, Callable[[_Storage], bytes]]:
  """The same of the older layout: five pickles, then each storage behind its length."""
  if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
    raise ValueError('it does not begin as a file of torch.save')
  if _Unpickler(file).load().get('little_endian') is not True:
    raise ValueError('its byte order is not little-endian')
  storages: dict[str, _Storage] = {}

  class Collecting(_Unpickler):
    def persistent_load(self, identity: Any) -> _Storage:
      storage = super().persistent_load(identity)
      return storages.setdefault(storage.key, storage)

  content = Collecting(file).load()
  contents: dict[str, bytes] = {}
  keys = _Unpickler(file).load()
  if sorted(keys) != sorted(storages):
    raise ValueError('its tensors and its list of storages do not agree')
  for key in keys:
    count = int.from_bytes(file.read(8), 'little')
    contents[key] = file.read(storages[key].dtype.itemsize * storages[key].count)
    if count != storages[key].count:
      raise ValueError(f'storage {key} has {count} numbers, not {storages[key].count}')
  return content, lambda storage: contents[storage.key]


def load(path: Path) -> dict[str, np.ndarray]:
  """The tensors of a state dict saved with `torch.save(module.state_dict(), path)`, by name.

  Raises:
    ValueError: the file cannot be read, is damaged, is not a dictionary of tensors, or names
      anything else to be loaded; nothing in it has been run.
  """
  try:
    whole = path.read_bytes()
    content, read = (_read_zip if whole[:2] == b'PK' else _read_stream)(io.BytesIO(whole))
    if not isinstance(content, dict) or not all(isinstance(t, _Tensor) for t in content.values()):
      raise ValueError('it holds something else than a dictionary of tensors')
    return {str(name): _array(tensor, read) for name, tensor in content.items()}
  except Exception as error:  # whatever a damaged or harmful file makes the parsers raise
    raise ValueError(f'{path} cannot be read as weights saved by torch: {error}') from error
