"""Features: pixels and the classifier: accurate, deterministic, kept, and picky about input."""

import numpy as np
import pytest

from jaxgen.features import Extracted, Features, classifier, fingerprint, in_chunks, pixels
from jaxgen.features.classifier import Recipe

from .conftest import Digits

QUICK = Recipe(steps=20, dimension=16)


def test_pixels_are_scaled_rows(digits: Digits) -> None:
  features = pixels.build((8, 8, 1))
  extracted, probabilities = features.extract(digits.test_images)
  assert (features.dimension, extracted.dtype, probabilities) == (64, np.float32, None)
  np.testing.assert_allclose(extracted[3].reshape(8, 8) * 255.0, digits.test_images[3, ..., 0])
  assert features.fingerprint != pixels.build((8, 4, 2)).fingerprint


def test_classifier_reads_digits(digits: Digits, digit_features: Features) -> None:
  assert digit_features.accuracy >= 0.97
  extracted, probabilities = digit_features.extract(digits.test_images)
  assert extracted.shape == (359, digit_features.dimension)
  np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
  assert np.mean(probabilities.argmax(axis=1) == digits.test_labels) == digit_features.accuracy
  spectrum = np.linalg.eigvalsh(np.cov(extracted.T, dtype=np.float64))
  assert spectrum[0] > 1e-6 * spectrum[-1], 'features must not be redundant'


def test_vectors_do_not_depend_on_other_images(digits: Digits, digit_features: Features) -> None:
  many = digit_features.extract(np.concatenate([digits.test_images] * 2))
  few = digit_features.extract(digits.test_images[7:9])
  np.testing.assert_array_equal(many.features[7:9], few.features)
  np.testing.assert_array_equal(many.features[359:], many.features[:359])


def test_same_recipe_same_weights_and_another_seed_others(digits: Digits) -> None:
  once, again, other = (
    classifier.build(*digits, recipe=QUICK._replace(seed=seed)).fingerprint for seed in (0, 0, 1)
  )
  assert once == again != other


@pytest.mark.parametrize('shape', [(17, 30, 1), (40, 33, 3)])
def test_any_size_and_colour(shape: tuple[int, int, int]) -> None:
  generator = np.random.default_rng(0)
  labels = np.arange(40) % 2
  images = generator.integers(0, 100, (40, *shape)).astype(np.uint8)
  images[labels == 1, : shape[0] // 2] += 100
  features = classifier.build(images, labels, images, labels, recipe=QUICK)
  assert features.accuracy == 1.0
  assert features.extract(images[:3]).features.shape == (3, 16)


def test_bad_images_are_refused(digit_features: Features, digits: Digits) -> None:
  images = digits.test_images
  for extract in (pixels.build((8, 8, 1)).extract, digit_features.extract):
    with pytest.raises(ValueError, match=r'float64 from 0.0 to 1.0; convert them to uint8'):
      extract(images / 255.0)
    with pytest.raises(ValueError, match=r'float32 from nan to nan'):
      extract(np.full((2, 8, 8, 1), np.nan, np.float32))
    with pytest.raises(ValueError, match=r'shape \(359, 8, 8\)'):
      extract(images[..., 0])
    with pytest.raises(ValueError, match=r'shape \(8, 8, 3\) each'):
      extract(images.repeat(3, axis=-1))
    with pytest.raises(ValueError, match=r'shape \(0, 8, 8, 1\)'):
      extract(images[:0])


def test_bad_training_sets_are_refused(digits: Digits) -> None:
  images, labels, test_images, test_labels = digits

  def refused(message: str, **changes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=message):
      classifier.build(*digits._replace(**changes), recipe=QUICK)

  refused('name 1 classes', train_labels=np.zeros_like(labels))
  refused(r'shape \(1438, 1\)', train_labels=labels[:, None])
  refused('training labels range from -1 to 8', train_labels=labels - 1)
  refused('test labels range from 0 to 9', train_labels=np.minimum(labels, 5))
  refused(r'int64 of shape \(358,\)', test_labels=test_labels[1:])
  refused('All 1438 training images are the same', train_images=images * 0)
  refused('at least 8 pixels', train_images=images[:, :7], test_images=test_images[:, :7])
  refused(r'made for \(8, 8, 1\)', test_images=test_images[:, :7])


def test_fingerprint_counts_type_shape_content_and_name() -> None:
  array = np.arange(6)
  prints = [
    fingerprint(a=array),
    fingerprint(b=array),
    fingerprint(a=array.reshape(2, 3)),
    fingerprint(a=array.astype(np.uint64)),
    fingerprint(a=array[::-1]),
    fingerprint(a=array, seed=0),
  ]
  assert len(set(prints)) == len(prints)
  assert fingerprint(a=np.arange(12)[::2] // 2, seed=0) == fingerprint(seed=0, a=array)


def test_chunks_are_all_of_one_size() -> None:
  sizes = []

  def count(chunk: np.ndarray) -> Extracted:
    sizes.append(len(chunk))
    return Extracted(chunk[:, 0, 0], None)

  images = np.arange(7)[:, None, None, None]
  assert in_chunks(count, images, 3).features.ravel().tolist() == list(range(7))
  assert sizes == [3, 3, 3]
