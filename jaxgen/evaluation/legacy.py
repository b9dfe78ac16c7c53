"""The number `s4_legacy` of samples, and of as many real images in their place."""

import hashlib
from pathlib import Path

import numpy as np

from jaxgen.datasets.splits import Dataset, Images
from jaxgen.errors import UserError
from jaxgen.evaluation.measure import Origin
from jaxgen.evaluation.protocol import Number, Protocol
from jaxgen.features import s4_legacy


class Legacy:
  """The distance that `s4_legacy` defines, to random test images as in its source."""

  def __init__(self, weights: str, dataset: Dataset, origin: Origin) -> None:
    """Reads the weights.

    Raises:
      UserError: they cannot be used.
    """
    try:
      self._legacy = s4_legacy.build(Path(weights).expanduser())
    except ValueError as error:
      raise UserError(f'config.evaluation.s4_legacy_weights: {error}') from error
    self._origin, self._train = origin, dataset.train.images
    self._shown = some(dataset.test.images, s4_legacy.COUNT)
    self._real: dict[int, Number] = {}  # by the number of samples

  def number(self, samples: np.ndarray, seed: int) -> Number:
    """Of uint8 samples (N, H, W, C) that were drawn with this seed."""
    return self._measured(samples, self._origin._replace(seed=seed))

  def real(self, count: int) -> Number:
    """Of so many random training images, measured once."""
    if count not in self._real:
      origin = self._origin._replace(seed=0, sampler='')
      self._real[count] = self._measured(some(self._train, count), origin)
    return self._real[count]

  def _measured(self, samples: np.ndarray, origin: Origin) -> Number:
    protocol = Protocol(
      metric='s4_legacy',
      fingerprint=self._legacy.fingerprint[:16],
      split='test',
      reference=hashlib.sha256(self._shown.tobytes()).hexdigest()[:16],
      reference_images=len(self._shown),
      samples=len(samples),
      **origin._asdict(),
    )
    try:
      return Number(protocol, *self._legacy.distance(self._shown, samples))
    except ValueError as error:
      return Number(protocol, None, reason=str(error))


def some(images: Images, count: int) -> np.ndarray:
  """So many of them, in a random order that is the same every time."""
  return images[np.random.default_rng(0).permutation(len(images))[:count]]
