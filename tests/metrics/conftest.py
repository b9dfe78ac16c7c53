"""Real digits, the features of their classifier, and made-up features."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxgen import data
from jaxgen.configuration import load
from jaxgen.metrics.features import Features, classifier
from jaxgen.references import labelled

jax.config.update('jax_numpy_rank_promotion', 'raise')


class Digits(NamedTuple):
  """uint8 (N, 8, 8, 1) and labels, 1438 to train or validate and 359 to test."""

  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray


@pytest.fixture(scope='session')
def digits() -> Digits:
  return Digits(*labelled(data.load(load('experiments/vae.py', None, []).data)))


@pytest.fixture(scope='session')
def digit_features(digits: Digits) -> Features:
  """Of the classifier that comes with jaxgen."""
  return classifier.build(*digits)


@pytest.fixture
def gaussians() -> Callable[..., np.ndarray]:
  """Draws float32 features (count, dimension) from a Gaussian, by seed."""

  def draw(seed: int, count: int = 500, dimension: int = 8, scale: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(dimension, dimension))
    return (scale * generator.normal(size=(count, dimension)) @ mixing).astype(np.float32)

  return draw
