"""Image datasets of tensorflow-datasets."""

import difflib
import importlib
import logging
import os
import urllib.error
import urllib.request
from typing import Any

import ml_collections
import numpy as np

from jaxgen.datasets.reading import OnDemand, fitted
from jaxgen.datasets.splits import Dataset, Split, arrange
from jaxgen.errors import UserError, first_line, meant

# What is named where a dataset is unknown.
KNOWN = ('digits', 'folder', 'npz', 'idx', 'mnist', 'fashion_mnist', 'cifar10')


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
    known = [*KNOWN, *library.list_builders(with_community_datasets=False)]
    close = meant(difflib.get_close_matches(config.name, dict.fromkeys(known), n=1))
    raise UserError(
      f'unknown dataset {config.name!r}.{close} Known: {", ".join(KNOWN)} and every other image '
      'dataset of tensorflow-datasets by name'
    ) from error
  except (ValueError, AssertionError, ImportError, OSError) as error:
    raise UserError(f'cannot load dataset {config.name!r}: {first_line(error)}') from error
  features = builder.info.features
  if 'image' not in features or not isinstance(features['image'], library.features.Image):
    raise UserError(f'{config.name!r} has no feature `image`; choose an image dataset')
  if not builder.is_prepared():
    prepare(builder, config.name)
  try:
    found = {
      name: read_split(builder, name, config) for name in SPLITS & builder.info.splits.keys()
    }
  except (OSError, ValueError, RuntimeError, IndexError) as error:
    raise UserError(f'cannot read {config.name!r} in {builder.data_dir}: {error}') from error
  return arrange(found, config)


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
  try:
    builder.download_and_prepare(file_format='array_record')
  except Exception as error:  # whatever the network, the disk or the dataset's own program raises
    raise UserError(f'cannot prepare {name!r} in {builder.data_dir}: {error}') from error


def read_split(builder: Any, split: str, config: ml_collections.ConfigDict) -> Split:
  """One split, in memory where it fits, else read by index from its array_record files."""
  features = builder.info.features
  names = tuple(features['label'].names or ()) if 'label' in features else ()
  if builder.info.file_format.file_suffix == 'tfrecord':
    examples = decode_tfrecord(builder, split, config)
    grey_or_colour, labels = (list(column) for column in zip(*examples, strict=True))
    return Split(np.stack(grey_or_colour), as_labels(labels), names)
  source = builder.as_data_source(split)
  lazy = OnDemand(lambda row: picture(source[row], config), len(source))
  if np.prod(lazy.shape) > config.memory_limit:
    unseen = {'image': importlib.import_module('tensorflow_datasets').decode.SkipDecoding()}
    bare = builder.as_data_source(split, decoders=unseen)
    return Split(lazy, as_labels([example.get('label') for example in bare]), names)
  pictures, labels = np.empty(lazy.shape, np.uint8), []
  for rows in np.array_split(np.arange(len(lazy)), -(-len(lazy) // 1000)):
    examples = source.__getitems__(rows.tolist())  # a third faster than one by one
    pictures[rows] = [picture(example, config) for example in examples]
    labels += [example.get('label') for example in examples]
  return Split(pictures, as_labels(labels), names)


def decode_tfrecord(
  builder: Any, split: str, config: ml_collections.ConfigDict
) -> list[tuple[np.ndarray, Any]]:
  """All (image, label) of a tfrecord split, read by TensorFlow on the CPU."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # its greetings
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
  return [(picture(example, config), example.get('label')) for example in examples]


def picture(example: dict[str, np.ndarray], config: ml_collections.ConfigDict) -> np.ndarray:
  """The image of a tfds example, resized, cropped and converted as configured."""
  return fitted(example['image'][None], config)[0]


def as_labels(labels: list[Any]) -> np.ndarray | None:
  """Class labels 0, 1, ... as an array, or None where the dataset has none or hides them (-1)."""
  whole = all(isinstance(label, np.integer | int) and label >= 0 for label in labels)
  return np.asarray(labels, np.int64) if whole else None
