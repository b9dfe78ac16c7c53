"""Images of black and white pixels, drawn once (Larochelle & Murray 2011)."""

import numpy as np

from jaxgen.datasets.splits import Dataset, Images, Split

WAYS = ('none', 'static', 'dynamic')


class Binarized:
  """Images whose pixels are 255 with a probability of their grey level, and else 0.

  Which of them are is drawn by split and row, so that an image is the same whenever it is read.
  """

  def __init__(self, images: Images, split: int) -> None:
    self.images, self.split, self.shape = images, split, images.shape

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    grey = self.images[rows]
    drawn = np.empty_like(grey)
    for place, row in enumerate(rows):
      threshold = np.random.default_rng((self.split, int(row))).random(self.shape[1:])
      drawn[place] = 255 * (threshold < grey[place] / 255.0)
    return drawn


def statically_binarized(dataset: Dataset) -> Dataset:
  """All splits in black and white; images that are in memory stay there."""

  def binarized(place: int, split: Split) -> Split:
    lazy = Binarized(split.images, place)
    in_memory = isinstance(split.images, np.ndarray)
    return split._replace(images=lazy[np.arange(len(lazy))] if in_memory else lazy)

  return Dataset(*(binarized(place, split) for place, split in enumerate(dataset)))
