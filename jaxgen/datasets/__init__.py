"""Named datasets as uint8 images, each source in a module of its own."""

import logging
from typing import Any

import ml_collections

from jaxgen.datasets.binary import WAYS, statically_binarized
from jaxgen.datasets.splits import Dataset
from jaxgen.errors import UserError, suggest

# What of a config's section `data` need not be said.
DEFAULTS = {
  'path': '',  # of the folder or file, or where prepared datasets lie
  'image_size': 0,  # side after resizing and cropping; 0 as it is
  'channels': 0,  # 1 grey, 3 colour; 0 as it is
  'validation_fraction': 0.1,  # of the training images, where there is no such split
  'test_fraction': 0.2,  # of all images, where there is no such split
  'memory_limit': 2**31,  # bytes; larger datasets are read by index
  # Pixels become black or white: static, once and for all; dynamic, anew each time that a model
  # sees the image; none, never.
  'binarize': 'none',
  'flip': False,  # half of the training images left to right, anew at every look
  'crop': 0,  # pixels by which training images are moved at most, anew at every look
}

log = logging.getLogger(__name__)

OWN = ('digits', 'folder', 'npz', 'idx')  # those that are not of tensorflow-datasets


def section(name: str, **fields: Any) -> ml_collections.ConfigDict:
  """A config's section `data`.

  Raises:
    UserError: a field that it does not have.
  """
  for field in fields:
    if field not in DEFAULTS:
      raise UserError(f'unknown field {field!r} of data.{suggest(field, DEFAULTS)}')
  return ml_collections.ConfigDict({'name': name} | DEFAULTS | fields)


def load(config: ml_collections.ConfigDict) -> Dataset:
  """The dataset that a config's `data` section names.

  Raises:
    UserError: unknown or unprepared dataset, unreadable files, too few images, an unknown way of
      making pixels black or white, a number of channels that no image has, or a crop that is larger
      than the images.
  """
  if config.binarize not in WAYS:
    raise UserError(f'config.data.binarize={config.binarize!r}; choose one of {", ".join(WAYS)}')
  if config.channels not in (0, 1, 3):
    raise UserError(
      f'config.data.channels={config.channels}; choose 1 for grey, 3 for colour or 0 as they are'
    )
  # Image libraries, only where data are read.
  from jaxgen.datasets import digits, folder, idx, npz, tfds

  sources = digits.digits, folder.folder, npz.npz, idx.idx
  dataset = dict(zip(OWN, sources, strict=True)).get(config.name, tfds.tfds)(config)
  if config.crop >= min(dataset.image_shape[:2]):
    raise UserError(
      f'config.data.crop={config.crop} moves images of shape {dataset.image_shape} out of sight: '
      'use a few pixels'
    )
  dataset = equally_labelled(dataset)
  return statically_binarized(dataset) if config.binarize == 'static' else dataset


def equally_labelled(dataset: Dataset) -> Dataset:
  """The same, without labels where not all splits have them, which is said."""
  without = [name for name, split in dataset._asdict().items() if split.labels is None]
  if 0 < len(without) < len(dataset):
    log.warning('labels are left out: the %s images have none', ' and '.join(without))
    return Dataset(*(split._replace(labels=None, class_names=()) for split in dataset))
  return dataset


def named(name: str, **fields: Any) -> Dataset:
  """The three splits of a dataset: `named('mnist').train.images` is uint8 (N, H, W, C).

  Args:
    name: digits, folder, npz, idx, or an image dataset of tensorflow-datasets.
    **fields: others of a config's section `data`, such as path='pictures', image_size=32.

  Raises:
    UserError: an unknown field, or as `load`.
  """
  return load(section(name, **fields))
