"""Pixels as features: no network, so no opinion; distances are those of pictures laid over."""

import numpy as np

from jaxgen.features import Extracted, Features, fingerprint, require_images


def build(image_shape: tuple[int, int, int]) -> Features:
  """Pixels 0..255 -> [0, 1], flattened row by row; dimension H·W·C."""

  def extract(images: np.ndarray) -> Extracted:
    images = require_images(images, image_shape)
    return Extracted(images.reshape(len(images), -1).astype(np.float32) / np.float32(255), None)

  return Features(
    name='pixels',
    dimension=int(np.prod(image_shape)),
    fingerprint=fingerprint(kind='pixels', image_shape=tuple(image_shape)),
    extract=extract,
  )
