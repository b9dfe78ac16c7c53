"""Does the model repeat its training images?

Read with a fidelity metric beside it: noise is authentic too.
"""

from typing import NamedTuple

import numpy as np

from jaxgen.metrics.neighbours import Nearest, nearest


class Memorisation(NamedTuple):
  """How near the generated images stand to the training images."""

  distance_ratio: float  # median distance to training: generated over test; below 1 is too near
  authenticity: float  # share of generated images that are no near copy of a training image


def authentic(own: Nearest, training: np.ndarray) -> np.ndarray:
  """Which generated images are authentic (Alaa et al. 2022, sec. 4.3), bool (N,).

  A generated image is a near copy when its nearest training image has no other training image as
  close to it.

  Args:
    own: the nearest training images of the generated images.
    training: features (M, d), M at least 2.
  """
  closest, position = np.unique(own.indices[:, 0], return_inverse=True)
  gaps = nearest(training[closest], training, itself=closest).distances[:, 0]
  return gaps[position] < own.distances[:, 0]


def memorisation(training: np.ndarray, test: np.ndarray, generated: np.ndarray) -> Memorisation:
  """Distance ratio and authenticity of generated images.

  Args:
    training: features (M, d) of the images that the model was trained on.
    test: features (L, d) of images of the same data, but not of the training set.
    generated: features (N, d).

  Raises:
    ValueError: the features are not fit for a metric, their dimensions differ, there are fewer
      than two training images, or most test images are copies of training images, so that there is
      no distance to compare with.
  """
  own = nearest(generated, training)
  usual = float(np.median(nearest(test, training).distances))
  if usual == 0.0:
    raise ValueError(
      f'At least half of the {len(test)} test images are copies of training images; give a test '
      'set that the model was not trained on'
    )
  return Memorisation(
    distance_ratio=float(np.median(own.distances[:, 0])) / usual,
    authenticity=float(authentic(own, training).mean()),
  )
