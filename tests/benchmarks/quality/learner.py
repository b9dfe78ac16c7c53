"""A model in training, as the sides of this benchmark make it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Learner(NamedTuple):
  """A model in training.

  Attributes:
    train: updates until so many seconds have passed, at least once; returns how many updates that
      were, all of them done.
    draw: so many samples, uint8 (N, H, W, C), of the parameters that its users would sample from.
    batch: images of an update.
    parameters: of all networks that are trained.
    device: what it runs on.
  """

  train: Callable[[float], int]
  draw: Callable[[int], np.ndarray]
  batch: int
  parameters: int
  device: str
