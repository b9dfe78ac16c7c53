"""InceptionV3 features, as in published distances, with weights from a file that the user names.

The file is the one that torch-fidelity and pytorch-fid release under the name
`...inception-2015-12-05-6726825d.pth`, or the same arrays as `.npz`. No code in it is run.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgen.features import Extracted, Features, fingerprint, in_chunks, require_images, torch_file
from jaxgen.features.inception_network import DIMENSION, Inception

_CHUNK = 32
_BATCH_NORM_EPSILON = 1e-3
_WANTED = (
  'the InceptionV3 weights of the Fréchet distance are needed, released by torch-fidelity and '
  'pytorch-fid as (weights- or pt_)inception-2015-12-05-6726825d.pth'
)


@functools.cache
def weight_shapes() -> dict[str, tuple[int, ...]]:
  """Name and shape of every array that the file must hold (`fc.bias` may be there too)."""
  images = jax.ShapeDtypeStruct((1, 8, 8, 1), np.uint8)
  params = jax.eval_shape(Inception().init, jax.random.key(0), images)['params']
  return dict(_file_shapes(flatten_dict(params, sep='.')))


def _file_shapes(params: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
  """A kernel here is a convolution's or the last layer's kernel there, and a batch norm's four."""
  for name, array in params.items():
    layer = name.removesuffix('.kernel')
    if name == 'fc.kernel':
      yield 'fc.weight', array.shape[::-1]
    elif layer != name:
      yield f'{layer}.conv.weight', (array.shape[3], array.shape[2], *array.shape[:2])
      for part in ('weight', 'bias', 'running_mean', 'running_var'):
        yield f'{layer}.bn.{part}', array.shape[3:]


def load_arrays(path: Path) -> dict[str, np.ndarray]:
  """The file's arrays, of whatever network. Raises ValueError if it cannot be read."""
  if not path.is_file():
    raise ValueError(f'There is no file {path}: {_WANTED}')
  if path.suffix != '.npz':
    return torch_file.load(path)
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:  # whatever a damaged file makes the parsers raise
    raise ValueError(f'{path} cannot be read as .npz: {error}') from error


def _require_inception(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The needed arrays in float32. Raises ValueError if they are another network's, or broken."""
  shapes = weight_shapes()
  ignored = {'fc.bias'} | {name for name in arrays if name.endswith('.num_batches_tracked')}
  missing = sorted(shapes.keys() - arrays.keys())
  strange = sorted(arrays.keys() - shapes.keys() - ignored)
  if missing or strange:
    raise ValueError(
      f'{path} is of another network: it lacks {len(missing)} of {len(shapes)} arrays '
      f'({", ".join(missing[:3]) or "none"}) and has {len(strange)} others '
      f'({", ".join(strange[:3]) or "none"}); {_WANTED}'
    )
  for name, shape in shapes.items():
    if arrays[name].shape != shape:
      raise ValueError(
        f'{path} is of another network: {name} has shape {arrays[name].shape}, not {shape}; '
        f'{_WANTED}'
      )
    negative = name.endswith('running_var') and np.any(arrays[name] < 0.0)
    if arrays[name].dtype.kind != 'f' or negative or not np.isfinite(arrays[name]).all():
      raise ValueError(f'{name} in {path} holds numbers that cannot be weights; {_WANTED}')
  return {name: arrays[name].astype(np.float32) for name in shapes}


def _fold(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
  """Flax parameters: scale and shift of each batch norm become part of its convolution."""
  params = {'fc.kernel': arrays['fc.weight'].T}
  for name, weight in arrays.items():
    layer = name.removesuffix('.conv.weight')
    if layer != name:
      scale, shift, mean, variance = (
        arrays[f'{layer}.bn.{part}'].astype(np.float64)
        for part in ('weight', 'bias', 'running_mean', 'running_var')
      )
      scale = scale / np.sqrt(variance + _BATCH_NORM_EPSILON)
      params[f'{layer}.kernel'] = (weight * scale[:, None, None, None]).transpose(2, 3, 1, 0)
      params[f'{layer}.bias'] = shift - mean * scale
  return {'params': unflatten_dict(jax.tree.map(np.float32, params), sep='.')}


@jax.jit
def _apply(params: Any, images: jax.Array) -> Extracted:
  features, logits = Inception().apply(params, images)
  return Extracted(features, jax.nn.softmax(logits))


def build(weights: Path) -> Features:
  """Inception features of images of any size, grey or colour.

  Args:
    weights: the file; `.npz` is read as NumPy's, everything else as torch's.

  Returns:
    Features with probabilities of 1008 classes, taken without the last bias as in the inception
    score's original code, and as fingerprint the hash of the weights, whatever their file.

  Raises:
    ValueError: there is no such file, it cannot be read, or it is of another network.
  """
  arrays = _require_inception(weights, load_arrays(weights))
  params = jax.tree.map(jnp.asarray, _fold(arrays))

  def extract(images: np.ndarray) -> Extracted:
    images = require_images(images)
    size = min(_CHUNK, 1 << (len(images) - 1).bit_length())  # few images: the next power of two
    return in_chunks(functools.partial(_apply, params), images, size)

  return Features(
    name='inception',
    dimension=DIMENSION,
    fingerprint=fingerprint(kind='inception', **arrays),
    extract=extract,
  )
