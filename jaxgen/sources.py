"""Where images come from: the embedded digits, a folder, tensorflow-datasets."""

import importlib
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from PIL import Image as PillowImage

from jaxgen import images
from jaxgen.data import Dataset, Split, hold_out
from jaxgen.errors import UserError

SUFFIXES = ('.png', '.jpg', '.jpeg')


def digits(config: ml_collections.ConfigDict) -> Dataset:
  """The 1,797 real 8x8 handwritten digits that ship with scikit-learn: no network needed."""
  from sklearn.datasets import load_digits

  bunch = load_digits()
  grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]  # ink in 0..16
  if config.image_size:
    grey = np.stack([fit_array(image, config) for image in grey])
  split = Split(grey, bunch.target.astype(np.int64))
  return Dataset(*hold_out(split, config.validation_fraction, config.test_fraction))


def fit_array(image: np.ndarray, config: ml_collections.ConfigDict) -> np.ndarray:
  """Resizes, crops and converts one uint8 (H, W, C) image as configured."""
  picture = PillowImage.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
  return images.fit(picture, config.image_size, config.channels or image.shape[-1])


class OnDemand:
  """Images read one by one when indexed, for datasets larger than memory."""

  def __init__(self, read: Any, count: int) -> None:
    self.read = read  # row -> uint8 (H, W, C)
    self.shape = (count, *read(0).shape)

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    return np.stack([self.read(int(row)) for row in rows])


def in_memory_if_it_fits(lazy: OnDemand, limit: int) -> np.ndarray | OnDemand:
  """All the images as one array where they take at most `limit` bytes."""
  return lazy[np.arange(len(lazy))] if np.prod(lazy.shape) <= limit else lazy


def folder(config: ml_collections.ConfigDict) -> Dataset:
  """A folder of PNG or JPEG files; the names of its subfolders, if any, are the labels.

  Raises:
    UserError: no such folder, no images in it, an unreadable file, files of several sizes.
  """
  root = Path(config.path).expanduser()
  if not config.path or not root.is_dir():
    raise UserError(
      f'no folder {config.path!r}: name one with --config.data.path=FOLDER that holds PNG or JPEG '
      'files, or use --config.data.name=digits'
    )
  files = sorted(f for f in root.rglob('*') if f.suffix.lower() in SUFFIXES and f.is_file())
  if not files:
    raise UserError(f'no {", ".join(SUFFIXES)} files in {root}')
  expected: list[tuple[int, ...]] = []

  def read(row: int) -> np.ndarray:
    try:
      with PillowImage.open(files[row]) as picture:
        image = images.fit(picture, config.image_size, config.channels)
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:
      raise UserError(f'cannot read image {files[row]}: {error}') from error
    expected[:] = expected or [image.shape]
    if image.shape != expected[0]:
      raise UserError(
        f'{files[row]} is {image.shape} where {files[0]} is {expected[0]} (height, width, '
        'channels): set --config.data.image_size and --config.data.channels to make all alike'
      )
    return image

  lazy = OnDemand(read, len(files))
  classes = sorted({f.parent for f in files})
  labels = np.array([classes.index(f.parent) for f in files]) if len(classes) > 1 else None
  split = Split(in_memory_if_it_fits(lazy, config.memory_limit), labels)
  return Dataset(*hold_out(split, config.validation_fraction, config.test_fraction))


def tfds(config: ml_collections.ConfigDict) -> Dataset:
  """An image dataset of tensorflow-datasets, prepared on first use.

  `config.path` or TFDS_DATA_DIR or the library's default says where prepared datasets lie. Both
  file formats are read; tfrecord files need TensorFlow, array_record files do not.

  Raises:
    UserError: unknown dataset, not an image dataset, or not prepared and no network.
  """
  library = importlib.import_module('tensorflow_datasets')
  logging.getLogger('absl').setLevel(logging.ERROR)  # its notes on folders that it looked into
  data_dir = os.path.expanduser(config.path) or None
  try:
    builder = library.builder(config.name, data_dir=data_dir)
  except library.core.registered.DatasetNotFoundError as error:
    known = ', '.join(('digits', 'folder', 'mnist', 'fashion_mnist', 'cifar10'))
    raise UserError(
      f'unknown dataset {config.name!r}. Known: {known} and every other image dataset of '
      'tensorflow-datasets by name'
    ) from error
  features = builder.info.features
  if 'image' not in features or not isinstance(features['image'], library.features.Image):
    raise UserError(f'{config.name!r} has no feature `image`; choose an image dataset')
  if not builder.is_prepared():
    prepare(builder, config.name)
  splits = {name: read_split(builder, name, config) for name in SPLITS & builder.info.splits.keys()}
  train = splits['train']
  test = splits.get('test') or splits.get('validation')
  if test is None:
    return Dataset(*hold_out(train, config.validation_fraction, config.test_fraction))
  if 'validation' in splits and 'test' in splits:
    return Dataset(train, splits['validation'], test)
  return Dataset(*hold_out(train, config.validation_fraction), test)


SPLITS = {'train', 'validation', 'test'}


def prepare(builder: Any, name: str) -> None:
  """Downloads and prepares a dataset; without a network this fails in seconds, not in minutes."""
  try:
    urllib.request.urlopen('https://storage.googleapis.com', timeout=5).close()
  except urllib.error.HTTPError:
    pass  # an answer, whatever it says, is a network
  except OSError as error:
    raise UserError(
      f'dataset {name!r} is not prepared in {builder.data_dir} and there is no network to download '
      f'it ({error}). Where there is one, run\n'
      f'  python -c "import tensorflow_datasets as tfds; tfds.data_source(\'{name}\')"\n'
      'then copy the folder and point TFDS_DATA_DIR at it; or use the embedded '
      '--config.data.name=digits'
    ) from error
  print(f'Preparing {name} in {builder.data_dir}', flush=True)
  builder.download_and_prepare(file_format='array_record')


def read_split(builder: Any, split: str, config: ml_collections.ConfigDict) -> Split:
  """One split, in memory where it fits, else read by index from its array_record files."""
  if builder.info.file_format.file_suffix == 'tfrecord':
    examples = decode_tfrecord(builder, split, config)
    grey_or_colour, labels = (list(column) for column in zip(*examples, strict=True))
    return Split(np.stack(grey_or_colour), as_labels(labels))
  source = builder.as_data_source(split)
  lazy = OnDemand(lambda row: fitted(source[row], config), len(source))
  if np.prod(lazy.shape) > config.memory_limit:
    return Split(lazy)
  pairs = [(fitted(example, config), example.get('label')) for example in source]
  pictures, labels = (list(column) for column in zip(*pairs, strict=True))
  return Split(np.stack(pictures), as_labels(labels))


def decode_tfrecord(
  builder: Any, split: str, config: ml_collections.ConfigDict
) -> list[tuple[np.ndarray, Any]]:
  """All (image, label) of a tfrecord split, read by TensorFlow on the CPU."""
  tensorflow = importlib.import_module('tensorflow')
  tensorflow.config.set_visible_devices([], 'GPU')
  count, shape = builder.info.splits[split].num_examples, builder.info.features['image'].shape
  size = np.prod([config.image_size or side or 1 for side in shape[:2]]) * (shape[2] or 3)
  if count * size > config.memory_limit:
    raise UserError(
      f'{builder.name} takes {count * size / 2**30:.1f} GiB and is prepared as tfrecord, which can '
      "only be read whole: prepare it with file_format='array_record', or raise "
      '--config.data.memory_limit'
    )
  examples = builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator()
  return [(fitted(example, config), example.get('label')) for example in examples]


def fitted(example: dict[str, np.ndarray], config: ml_collections.ConfigDict) -> np.ndarray:
  """The image of a tfds example, resized, cropped and converted as configured."""
  image = example['image']
  if config.image_size or config.channels not in (0, image.shape[-1]):
    return fit_array(image, config)
  return image


def as_labels(labels: list[Any]) -> np.ndarray | None:
  """Integer class labels as an array, or None where the dataset has none of that kind."""
  whole = all(np.ndim(label) == 0 and isinstance(label, np.integer | int) for label in labels)
  return np.asarray(labels, np.int64) if whole else None
