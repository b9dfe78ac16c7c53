"""Real digits, features of a classifier trained on them, and the peers to agree with."""

import contextlib
import importlib
import io
import sys
import types
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxgen.metrics.features import Features, classifier

jax.config.update('jax_numpy_rank_promotion', 'raise')


class Digits(NamedTuple):
  """uint8 (N, 8, 8, 1) and labels, 1437 to train and 360 to test."""

  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray


@pytest.fixture(scope='session')
def digits() -> Digits:
  data = load_digits()
  images = np.round(data.images * 255.0 / 16.0).astype(np.uint8)[..., None]
  order = np.random.default_rng(0).permutation(len(images))
  train, test = order[:1437], order[1437:]
  return Digits(images[train], data.target[train], images[test], data.target[test])


@pytest.fixture(scope='session')
def digit_features(digits: Digits) -> Features:
  return classifier.build(*digits, recipe=classifier.Recipe(steps=800, batch_size=64))


@pytest.fixture
def gaussians() -> Callable[..., np.ndarray]:
  """Draws float32 features (count, dimension) from a Gaussian, by seed."""

  def draw(seed: int, count: int = 500, dimension: int = 8, scale: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(dimension, dimension))
    return (scale * generator.normal(size=(count, dimension)) @ mixing).astype(np.float32)

  return draw


def _import_quietly(name: str) -> ModuleType:
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    return importlib.import_module(name)


@pytest.fixture(scope='session')
def prdc() -> Callable[..., dict[str, float]]:
  """compute_prdc of the density and coverage paper's authors, without its printing."""
  pytest.importorskip('prdc', reason='prdc is not installed (tests/peers.txt)')
  compute = _import_quietly('prdc').compute_prdc

  def quiet(*arguments: np.ndarray, **keywords: int) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
      return compute(*arguments, **keywords)

  return quiet


@pytest.fixture(scope='session')
def torch_fidelity() -> Callable[[str], ModuleType]:
  """Imports a module of torch-fidelity by its short name.

  The package imports torchvision for its data sets, which these tests do not use, and which has no
  CPU build to go with every torch: an empty stand-in does.
  """
  for needed in ('torch', 'torch_fidelity'):
    if importlib.util.find_spec(needed) is None:
      pytest.skip(f'{needed} is not installed (tests/peers.txt)')
  if importlib.util.find_spec('torchvision') is None:
    names = ('torchvision', 'torchvision.datasets', 'torchvision.transforms')
    for name in (*names, 'torchvision.transforms.functional'):
      sys.modules[name] = types.ModuleType(name)
    for dataset in ('CIFAR10', 'STL10', 'CIFAR100'):
      setattr(sys.modules['torchvision.datasets'], dataset, object)
    sys.modules['torchvision'].transforms = sys.modules['torchvision.transforms']
    sys.modules['torchvision.transforms'].functional = sys.modules[names[-1] + '.functional']
  return lambda name: _import_quietly(f'torch_fidelity.{name}')
