"""The metrics together on real images: near zero, small, monotone, and naming what is missing."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from jaxgen import datasets
from jaxgen.configuration import load as load_config
from jaxgen.evaluation.references import labelled
from jaxgen.features import Extracted, Features, classifier
from jaxgen.metrics.balance import class_balance, class_frechet
from jaxgen.metrics.coverage import manifold_overlap
from jaxgen.metrics.frechet import frechet_distance, moments
from jaxgen.metrics.kernel import kernel_distance
from jaxgen.metrics.memorisation import memorisation

from .conftest import Digits


class Real(NamedTuple):
  """Real digits, and what the classifier sees of them."""

  digits: Digits
  features: Features
  train: Extracted
  test: Extracted


@pytest.fixture(scope='session')
def real(digits: Digits, digit_features: Features) -> Real:
  return Real(
    digits,
    digit_features,
    digit_features.extract(digits.train_images),
    digit_features.extract(digits.test_images),
  )


def add_noise(images: np.ndarray, deviation: float) -> np.ndarray:
  """uint8 images plus Gaussian noise of this many grey levels."""
  noise = np.random.default_rng(1).normal(0.0, deviation, images.shape)
  return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> float:
  return frechet_distance(moments(a), moments(b))


def test_halves_are_nearer_than_train_to_test_nearer_than_noise(real: Real) -> None:
  first, second = real.train.features[:718], real.train.features[718:1436]
  noisy = real.features.extract(add_noise(real.digits.test_images, 64.0)).features
  halves, noise = distance(first, second), distance(real.train.features, noisy)
  held_out = distance(real.train.features, real.test.features)
  assert halves < held_out < noise
  assert halves < 0.25 * noise
  close = kernel_distance(first, second)
  assert abs(close.mean) < 4.0 * close.standard_error
  overlap = manifold_overlap(first, second)
  assert min(overlap.precision, overlap.recall, overlap.coverage) > 0.8
  assert overlap.density == pytest.approx(1.0, abs=0.1)


def test_noise_is_monotone_in_every_distance(real: Real) -> None:
  rows = []
  for deviation in (0.0, 64.0, 128.0):
    noisy = real.features.extract(add_noise(real.digits.test_images, deviation))
    overlap = manifold_overlap(real.train.features, noisy.features)
    rows.append(
      (
        distance(real.train.features, noisy.features),
        kernel_distance(real.train.features, noisy.features, subset_size=170).mean,
        -overlap.density,
        -overlap.coverage,
      )
    )
  assert np.all(np.diff(rows, axis=0) > 0.0)


def test_removed_classes_are_named(real: Real) -> None:
  labels = real.digits.test_labels
  counts = np.bincount(real.digits.train_labels)
  whole = class_balance(real.test.probabilities, counts)
  assert whole.missing == ()
  kept = ~np.isin(labels, (3, 7))
  partial = class_balance(real.test.probabilities[kept], counts)
  assert partial.missing == (3, 7)
  assert partial.kl_nats > whole.kl_nats + 0.1
  assert partial.entropy_nats < whole.entropy_nats - 0.1
  assert distance(real.train.features, real.test.features[kept]) > 2.0 * distance(
    real.train.features, real.test.features
  )


def test_images_of_no_class_are_claimed_less(real: Real) -> None:
  noise = np.random.default_rng(0).integers(0, 256, (500, 8, 8, 1)).astype(np.uint8)
  counts = np.bincount(real.digits.train_labels)
  unclaimed = class_balance(real.features.extract(noise).probabilities, counts).unclaimed
  assert unclaimed > class_balance(real.test.probabilities, counts).unclaimed + 0.02


def test_small_classes_have_a_reason(real: Real) -> None:
  result = class_frechet(
    real.train.features, real.digits.train_labels,
    real.test.features, real.digits.test_labels, 10,
  )  # fmt: skip
  assert result.distances == {}
  assert all('at least 65 are needed' in reason for reason in result.reasons.values())


def test_copied_training_images_are_found_out(real: Real) -> None:
  copied = memorisation(real.train.features, real.test.features, real.train.features[:300])
  assert (copied.distance_ratio, copied.authenticity) == (0.0, 0.0)
  fresh = memorisation(real.train.features[:718], real.test.features, real.train.features[718:])
  assert 0.8 < fresh.distance_ratio < 1.2
  assert fresh.authenticity > 0.4


@pytest.mark.slow
@pytest.mark.usefixtures('compiled_as_users_do')
def test_mnist_behaves_as_it_must(figure: Callable[[str], None]) -> None:
  """The table in jaxgen/evaluation/README.md: halves, splits, noise, classes removed."""
  if 'TFDS_DATA_DIR' not in os.environ:
    pytest.skip('TFDS_DATA_DIR does not name a folder with MNIST prepared by tensorflow-datasets')
  dataset = datasets.load(load_config('experiments/vae.py:mnist', None, []).data)
  train, (test, test_labels, *_) = dataset.train.images, dataset.test
  features = classifier.build(*labelled(dataset))
  figure(f'classifier: {features.accuracy:.2%} of the test images right')
  assert features.accuracy >= 0.992

  def measure(name: str, reference: np.ndarray, images: np.ndarray) -> float:
    real, made = (features.extract(part) for part in (reference, images))
    found = distance(real.features, made.features)
    kernel = kernel_distance(real.features, made.features)
    balance = class_balance(made.probabilities, np.bincount(test_labels))
    figure(
      f'{name}: Fréchet {found:.1f}, kernel {kernel.mean:.1f} ± {kernel.standard_error:.1f}, '
      f'classes {balance.kl_nats:.4f} nats from the data, missing {list(balance.missing) or "none"}'
    )
    assert balance.missing == ((3, 7) if 'without' in name else ())
    return found

  halves = measure('1 halves of the test set', test[::2], test[1::2])
  held_out = measure('2 train, test', train, test)
  noisy = [
    measure(f'{place} train, test with noise of {deviation}', train, add_noise(test, deviation))
    for place, deviation in enumerate((8.0, 16.0, 32.0, 64.0), 3)
  ]
  without = ~np.isin(test_labels, (3, 7))
  removed = measure('7 train, test without 3 and 7', train, test[without])
  assert [held_out, *noisy] == sorted([held_out, *noisy])
  assert max(halves, held_out) < 0.2 * min(noisy[-1], removed)
