"""What metrics ask of their arrays: what is refused and by which name, and what just passes."""

from collections.abc import Callable

import numpy as np
import pytest

from jaxgen.metrics import checks


@pytest.mark.parametrize('shape', [(), (3,), (0, 3), (3, 0), (2, 3, 1)])
def test_features_have_a_row_for_each_image(shape: tuple[int, ...]) -> None:
  with pytest.raises(ValueError, match='The generated features have shape'):
    checks.require_features(np.ones(shape, np.float32), 'generated')


@pytest.mark.parametrize('kind', [np.uint8, np.int64, bool, complex])
def test_features_are_floating_point(kind: type) -> None:
  with pytest.raises(ValueError, match=f'The real features are {np.dtype(kind)}'):
    checks.require_features(np.ones((2, 2), kind), 'real')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_images_without_finite_features_are_counted_and_the_first_is_named(value: float) -> None:
  features = np.zeros((7, 3))
  features[[2, 5], [1, 0]] = value
  features[5, 2] = value  # still one image
  with pytest.raises(
    ValueError, match='features of 2 of 7 images are not finite, first at image 2'
  ):
    checks.require_features(features, 'real')


@pytest.mark.parametrize('shape', [(1, 1), (1, 4), (4, 1)])
def test_features_come_back_as_they_are_in_double_precision(shape: tuple[int, int]) -> None:
  features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  found = checks.require_features(features, 'real')
  assert found.dtype == np.float64
  np.testing.assert_array_equal(found, features)


@pytest.mark.parametrize('scale', [1e-3, 1.0, 1e3])
def test_images_that_differ_by_rounding_are_the_same(scale: float) -> None:
  """At any scale, a millionth is the rounding of float32, and a ten thousandth is not."""
  features = np.tile([-scale, scale / 2, 0.0], (5, 1))
  features[3, 0] *= 1 + 1e-6
  with pytest.raises(ValueError, match='All 5 generated images have the same features'):
    checks.require_variety(features, 'generated')
  features[3, 0] *= 1 + 1e-4
  checks.require_variety(features, 'generated')


def test_rounding_is_that_of_the_largest_feature() -> None:
  """A sum of large numbers that all but cancel is known no better than they are."""
  features = np.tile([1000.0, 0.0], (4, 1))
  features[2, 1] = 1e-3
  with pytest.raises(ValueError, match='All 4 real images'):
    checks.require_variety(features, 'real')


def test_negative_features_are_as_large_as_positive_ones() -> None:
  features = np.full((4, 2), -1000.0)
  features[2, 1] += 1e-3
  with pytest.raises(ValueError, match='All 4 real images'):
    checks.require_variety(features, 'real')


def test_images_without_any_feature_are_the_same() -> None:
  with pytest.raises(ValueError, match='All 2 real images'):
    checks.require_variety(np.zeros((2, 3)), 'real')


@pytest.mark.parametrize(
  'require', [checks.require_same_dimension, checks.require_distributions], ids=['any', 'varied']
)
def test_two_sets_must_have_one_dimension(require: Callable) -> None:
  first, second = np.eye(4, 3, dtype=np.float32), np.eye(5, 3, dtype=np.float32)
  found = require(first, second, ('real', 'generated'))
  for given, back in zip((first, second), found, strict=True):
    np.testing.assert_array_equal(given, back)
    assert back.dtype == np.float64
  with pytest.raises(
    ValueError, match='The real features have dimension 3, the generated features 2'
  ):
    require(first, second[:, :2], ('real', 'generated'))
  with pytest.raises(ValueError, match='The real features are int64'):
    require(first.astype(np.int64), second, ('real', 'generated'))
  with pytest.raises(ValueError, match='The generated features are int64'):
    require(first, second.astype(np.int64), ('real', 'generated'))


def test_both_sets_must_vary() -> None:
  varied, constant = np.eye(4), np.ones((3, 4))
  checks.require_same_dimension(varied, constant, ('real', 'generated'))
  with pytest.raises(ValueError, match='All 3 generated images'):
    checks.require_distributions(varied, constant, ('real', 'generated'))
  with pytest.raises(ValueError, match='All 3 real images'):
    checks.require_distributions(constant, varied, ('real', 'generated'))


def test_probabilities_add_up_to_one_exactly() -> None:
  given = np.array([[0.25, 0.75, 0.0], [0.2, 0.3, 0.5005], [0.2, 0.3, 0.4995]])
  found = checks.require_probabilities(given, 'generated')
  np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-15)
  np.testing.assert_array_equal(found[0], given[0])
  np.testing.assert_allclose(found[1], given[1] / 1.0005, rtol=1e-14)


@pytest.mark.parametrize(
  ('row', 'words'),
  [
    ([1.01, -0.01], 'adds up to 1 with minimum -0.01'),
    ([0.5, 0.502], 'adds up to 1.002'),
    ([0.5, 0.498], 'adds up to 0.998'),
    ([0.0, 0.0], 'adds up to 0 '),
    ([3.0, -1.0], 'adds up to 2 with minimum -1'),
  ],
)
def test_logits_are_no_probabilities(row: list[float], words: str) -> None:
  """The first wrong row is named, with its own sum and minimum."""
  given = np.array([[0.5, 0.5], row, [0.1, 0.2]])
  with pytest.raises(ValueError, match=f'Row 1 of the real class probabilities {words}'):
    checks.require_probabilities(given, 'real')


def test_probabilities_are_features() -> None:
  with pytest.raises(ValueError, match='The real class features have shape'):
    checks.require_probabilities(np.ones(3), 'real')


def test_labels_from_the_first_class_to_the_last_come_back_as_integers() -> None:
  found = checks.require_labels(np.array([0, 9, 3], np.uint8), 3, 10, 'real')
  assert found.dtype == np.int64
  assert found.tolist() == [0, 9, 3]


@pytest.mark.parametrize(
  ('labels', 'words'),
  [
    (np.zeros(3, np.float32), r'float32 of shape \(3,\); give integers of shape \(3,\)'),
    (np.zeros(2, np.int32), r'int32 of shape \(2,\); give integers of shape \(3,\)'),
    (np.zeros((3, 1), np.int32), r'int32 of shape \(3, 1\)'),
    (np.array([0, -1, 2]), 'range from -1 to 2; with 10 classes they must be 0 to 9'),
    (np.array([1, 10, 2]), 'range from 1 to 10'),
  ],
)
def test_other_labels_are_refused(labels: np.ndarray, words: str) -> None:
  with pytest.raises(ValueError, match=f'The generated labels (are )?{words}'):
    checks.require_labels(labels, 3, 10, 'generated')
