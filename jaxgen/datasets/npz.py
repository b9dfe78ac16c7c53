"""One .npz file of images, with labels and splits where it has them."""

from pathlib import Path

import ml_collections
import numpy as np

from jaxgen.datasets.reading import fitted
from jaxgen.datasets.splits import Dataset, Split, arrange
from jaxgen.errors import UserError

SPLITS = ('train', 'validation', 'test')
HOW = (
  'it holds `images`, uint8 (N, H, W) or (N, H, W, C), and perhaps `labels`, integers (N,), and '
  '`class_names`; or `train_images`, `train_labels` and so on of train, validation and test'
)


def npz(config: ml_collections.ConfigDict) -> Dataset:
  """The arrays of a file that numpy.savez wrote; splits that it lacks are held out.

  Nothing in the file is executed.

  Raises:
    UserError: no such file, it cannot be read, or its arrays are no images and labels.
  """
  path = Path(config.path).expanduser()
  if not path.is_file():
    raise UserError(f'no file {config.path!r}: name one with --config.data.path=FILE.npz; {HOW}')
  arrays = read(path)
  names = tuple(map(str, np.atleast_1d(arrays.pop('class_names', ()))))
  starts = {name: f'{name}_' for name in SPLITS if f'{name}_images' in arrays}
  if 'images' in arrays:
    starts['train'] = ''
  expected = {f'{start}{part}' for start in starts.values() for part in ('images', 'labels')}
  stray = sorted(arrays.keys() - expected)
  if stray or not starts:
    raise UserError(f'{path} holds {", ".join(stray) or "nothing"}, and should not: {HOW}')
  found = {
    name: split(arrays, start, config, path)._replace(class_names=names)
    for name, start in starts.items()
  }
  shapes = {part.images.shape[1:] for part in found.values()}
  if len(shapes) > 1:
    raise UserError(
      f'{path}: the splits hold images of shapes {" and ".join(map(str, sorted(shapes)))}; set '
      '--config.data.image_size and --config.data.channels to make all alike'
    )
  return arrange(found, config)


def read(path: Path) -> dict[str, np.ndarray]:
  """All arrays of a file."""
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:  # whatever a damaged file makes the parsers raise
    raise UserError(f'{path} cannot be read: {error}; write it with numpy.savez') from error


def split(
  arrays: dict[str, np.ndarray], start: str, config: ml_collections.ConfigDict, path: Path
) -> Split:
  """The images and labels whose names start so, resized and converted as configured."""
  name, images = f'{start}images', np.ascontiguousarray(arrays[f'{start}images'])
  labels = arrays.get(f'{start}labels')
  if images.ndim == 3:
    images = images[..., None]
  if images.dtype != np.uint8:
    raise UserError(f'{path}: {name} are {images.dtype}; save them as uint8, black 0, white 255')
  if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
    turned = '; turn (N, C, H, W) by .transpose(0, 2, 3, 1)' * (images.shape[1:2] in ((1,), (3,)))
    raise UserError(f'{path}: {name} have the shape {images.shape}, not (N, H, W, 1 or 3){turned}')
  if labels is not None:
    if labels.dtype.kind not in 'iu' or labels.shape != images.shape[:1] or labels.min() < 0:
      raise UserError(
        f'{path}: {start}labels are {labels.dtype} {labels.shape} for {len(images)} images; give '
        'each a whole number from 0'
      )
    labels = labels.astype(np.int64)
  return Split(fitted(images, config), labels)
