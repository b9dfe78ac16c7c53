"""Real digits, the features of their classifier, and made-up features."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxgen import datasets
from jaxgen.configuration import load
from jaxgen.evaluation.references import labelled
from jaxgen.features import Features, classifier
from tests.answers import draw

jax.config.update('jax_numpy_rank_promotion', 'raise')


class Digits(NamedTuple):
  """uint8 (N, 8, 8, 1) and labels, 1438 to train or validate and 359 to test."""

  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray


@pytest.fixture(scope='session')
def digits() -> Digits:
  """In a random order: rows are sorted by who wrote them."""
  sets = labelled(datasets.load(load('experiments/vae.py', None, []).data))
  train, test = (np.random.default_rng(0).permutation(len(labels)) for labels in sets[1::2])
  return Digits(*(part[train] for part in sets[:2]), *(part[test] for part in sets[2:]))


@pytest.fixture(scope='session')
def digit_features(digits: Digits) -> Features:
  """Of the classifier that comes with jaxgen."""
  return classifier.build(*digits)


@pytest.fixture
def gaussians() -> Callable[..., np.ndarray]:
  """Draws float32 features (count, dimension) from a Gaussian, by seed."""
  return draw
