"""Named datasets as uint8 images, each source in a module of its own."""

import ml_collections

from jaxgen.datasets.splits import Dataset


def load(config: ml_collections.ConfigDict) -> Dataset:
  """The dataset that a config's `data` section names.

  Raises:
    UserError: unknown or unprepared dataset, unreadable files, or too few images.
  """
  from jaxgen.datasets import digits, folder, tfds  # image libraries, only where data are read

  source = {'digits': digits.digits, 'folder': folder.folder}.get(config.name, tfds.tfds)
  return source(config)
