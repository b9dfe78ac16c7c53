"""Features: what a metric sees of an image. One module for each kind, found by its name."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Extracted(NamedTuple):
  """Features, float32 (N, d), and class probabilities, float32 (N, K), where the kind has them."""

  features: np.ndarray
  probabilities: np.ndarray | None


class Features(NamedTuple):
  """A fixed way to turn images into vectors.

  Attributes:
    name: 'pixels', 'classifier' or 'inception'; part of the name of every number made with it.
    dimension: d, the length of a vector; a Fréchet distance needs more images than that.
    fingerprint: hash of all that decides the vectors; numbers with different ones do not compare.
    extract: uint8 (N, H, W, C) -> `Extracted`. Raises ValueError for images it cannot take.
    accuracy: of a classifier on test images that it was not trained on, within [0, 1]; else None.
  """

  name: str
  dimension: int
  fingerprint: str
  extract: Callable[[np.ndarray], Extracted]
  accuracy: float | None = None


def require_images(images: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
  """Images as every extractor takes them: uint8 (N, H, W, C), N at least 1, C 1 or 3.

  Args:
    images: what the caller gave.
    shape: (H, W, C) that the images must have; None takes any.

  Raises:
    ValueError: they are of another shape or type.
  """
  images = np.asarray(images)
  if images.ndim != 4 or 0 in images.shape or images.shape[3] not in (1, 3):
    raise ValueError(
      f'The images have shape {images.shape}; give (N, H, W, C) with 1 or 3 channels last'
    )
  if images.dtype != np.uint8:
    found = f'{images.dtype} from {images.min()} to {images.max()}'
    raise ValueError(f'The images are {found}; convert them to uint8, 0 to 255')
  if shape is not None and images.shape[1:] != tuple(shape):
    raise ValueError(
      f'The images have shape {images.shape[1:]} each, the features were made for {tuple(shape)}; '
      'resize the images, and name the resize with the number'
    )
  return images


def in_chunks(function: Callable[[np.ndarray], Any], images: np.ndarray, size: int) -> Any:
  """Applies a jitted function to `size` images at a time, and joins what it returns.

  The last chunk is filled up with its first image, so that the function is compiled once; memory
  stays bounded, and the vector of an image is the same whatever comes after it.

  Args:
    function: (size, H, W, C) -> a pytree of arrays with a leading axis of `size`.
    images: (N, H, W, C), N at least 1.
    size: images in a chunk.
  """
  results = []
  for start in range(0, len(images), size):
    chunk = images[start : start + size]
    filler = np.repeat(chunk[:1], size - len(chunk), axis=0)
    with jax.default_matmul_precision('highest'):  # else GPUs round inputs to ten bits
      results.append(jax.tree.map(np.asarray, function(np.concatenate([chunk, filler]))))
  return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(images)], *results)


def fingerprint(**parts: Any) -> str:
  """SHA-256 over named arrays and values, in hexadecimal: the same content, the same hash.

  Args:
    parts: arrays count by type, shape and content, everything else by its `repr`.
  """
  digest = hashlib.sha256()
  for name, part in sorted(parts.items()):
    if isinstance(part, np.ndarray):
      digest.update(f'{name}:{part.dtype.str}{part.shape}:'.encode())
      digest.update(np.ascontiguousarray(part).data)
    else:
      digest.update(f'{name}:{part!r};'.encode())
  return digest.hexdigest()
