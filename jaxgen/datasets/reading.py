"""Images that are read one by one, and brought to one size."""

from typing import Any

import ml_collections
import numpy as np
from PIL import Image as PillowImage

from jaxgen import images
from jaxgen.errors import UserError


def fitted(pictures: np.ndarray, config: ml_collections.ConfigDict) -> np.ndarray:
  """Images uint8 (N, H, W, C), resized, cropped and converted as configured."""
  channels = pictures.shape[-1]
  if not config.image_size and config.channels in (0, channels):
    return pictures
  flat = pictures.squeeze(-1) if channels == 1 else pictures
  return np.stack(
    [
      images.fit(PillowImage.fromarray(picture), config.image_size, config.channels or channels)
      for picture in flat
    ]
  )


class OnDemand:
  """Images read one by one when indexed, for datasets larger than memory."""

  def __init__(self, read: Any, count: int) -> None:
    self.read = read  # row -> uint8 (H, W, C)
    self.shape = (count, *read(0).shape)

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    found = np.empty((len(rows), *self.shape[1:]), np.uint8)
    for place, row in enumerate(rows):
      image = self.read(int(row))
      if image.shape != self.shape[1:]:
        raise UserError(
          f'image {row} has the shape {image.shape}, and the first one {self.shape[1:]}: set '
          '--config.data.image_size and --config.data.channels to make all alike'
        )
      found[place] = image
    return found


def in_memory_if_it_fits(lazy: OnDemand, limit: int) -> np.ndarray | OnDemand:
  """All the images as one array where they take at most `limit` bytes."""
  return lazy[np.arange(len(lazy))] if np.prod(lazy.shape) <= limit else lazy
