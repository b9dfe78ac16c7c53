"""Files of named arrays by the safetensors format: a JSON header and bytes, nothing that runs.

Eight bytes with the header's length, little-endian; the header, which gives each array's type,
shape and place in what follows; then the arrays, row by row.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxgen.errors import UserError
from jaxgen.images import write_whole

DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'I64': '<i8', 'I32': '<i4', 'U8': '|u1'}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def read(path: Path) -> dict[str, np.ndarray]:
  """The arrays of a file by their names.

  Raises:
    UserError: it cannot be read, is damaged, or holds arrays of another type than DTYPES.
  """
  try:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8 : 8 + length])
    header.pop('__metadata__', None)
    body = data[8 + length :]
    return {name: array(body, entry) for name, entry in header.items()}
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    known = ', '.join(DTYPES)
    raise UserError(
      f'{path} is no whole safetensors file of types {known}: {type(error).__name__}: {error}'
    ) from error


def array(body: bytes, entry: Mapping[str, object]) -> np.ndarray:
  """One array of a file's body, as its header describes it."""
  dtype, shape = np.dtype(DTYPES[entry['dtype']]), tuple(entry['shape'])
  start, end = entry['data_offsets']
  if not 0 <= start <= end <= len(body) or end - start != math.prod(shape) * dtype.itemsize:
    raise ValueError(f'bytes {start} to {end} of {len(body)} are not an array {shape}')
  return np.frombuffer(body[start:end], dtype).reshape(shape)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays by their names, whose types are among DTYPES."""
  header, parts, place = {}, [], 0
  for name, values in arrays.items():
    part = np.ascontiguousarray(values).tobytes()
    header[name] = {
      'dtype': NAMES[values.dtype],
      'shape': list(values.shape),
      'data_offsets': [place, place + len(part)],
    }
    parts.append(part)
    place += len(part)
  text = json.dumps(header).encode()
  text += b' ' * (-len(text) % 8)  # so that the arrays are aligned
  write_whole(path, b''.join([len(text).to_bytes(8, 'little'), text, *parts]))
