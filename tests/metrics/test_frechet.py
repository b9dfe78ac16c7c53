"""Fréchet distance: closed forms, an independent implementation, and streaming."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg

from jaxgen.metrics import frechet
from jaxgen.metrics.frechet import Moments, frechet_distance, moments, standard_error

Draw = Callable[..., np.ndarray]


def gaussian(mean: np.ndarray, covariance: np.ndarray, count: int = 1000) -> Moments:
  """Moments whose unbiased covariance is exactly this one."""
  return Moments(count, np.asarray(mean, float), np.asarray(covariance, float) * (count - 1))


def test_one_dimension_is_mean_gap_and_deviation_gap_squared() -> None:
  a, b = gaussian([1.0], [[4.0]]), gaussian([4.0], [[25.0]])
  assert frechet_distance(a, b) == pytest.approx((4.0 - 1.0) ** 2 + (5.0 - 2.0) ** 2)


def test_commuting_covariances_add_up_over_dimensions() -> None:
  turn = scipy.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
  a, b = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([2.0, 0.5, 9.0, 1.0, 0.0])
  distance = frechet_distance(
    gaussian(np.zeros(5), turn * a @ turn.T), gaussian(np.ones(5), turn * b @ turn.T)
  )
  assert distance == pytest.approx(5.0 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2))


def test_agrees_with_a_matrix_square_root(gaussians: Draw) -> None:
  a, b = gaussians(0), gaussians(1, scale=1.3) + 0.5
  sigma_a, sigma_b = np.cov(a.T, dtype=np.float64), np.cov(b.T, dtype=np.float64)
  root = scipy.linalg.sqrtm(sigma_a @ sigma_b)
  gap = np.mean(a, 0, np.float64) - np.mean(b, 0, np.float64)
  expected = gap @ gap + np.trace(sigma_a + sigma_b - 2.0 * np.real(root))
  assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-8)


def test_symmetric_and_zero_to_itself_even_when_nearly_singular(gaussians: Draw) -> None:
  features = gaussians(0).astype(np.float64)
  features[:, 0] = features[:, 1] * (1.0 + 1e-9)
  features[:, 2] = 5.0
  a, b = moments(features), moments(gaussians(1))
  assert frechet_distance(a, a) < 1e-9
  assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_eigenvalues_that_rounding_makes_negative_are_zero() -> None:
  """Features that are sums of others: the distance to themselves, moved, is the squared shift."""
  generator, negative = np.random.default_rng(0), 0
  for _ in range(10):
    features = generator.normal(size=(50, 3)) @ generator.normal(size=(3, 6))
    negative += scipy.linalg.eigvalsh(frechet.covariance(moments(features)))[0] < 0.0
    moved = frechet_distance(moments(features), moments(features + 1.0))
    assert moved == pytest.approx(6.0, abs=1e-6)
  assert negative


def test_moving_all_features_adds_the_squared_shift(gaussians: Draw) -> None:
  features = gaussians(0)
  shift = np.arange(8.0)
  distance = frechet_distance(moments(features), moments(features + shift))
  assert distance == pytest.approx(np.sum(shift**2), rel=1e-6)


@pytest.mark.parametrize('count', [2, 7, 8])
def test_too_few_images_say_how_many_are_needed(gaussians: Draw, count: int) -> None:
  enough = moments(gaussians(0))
  with pytest.raises(ValueError, match=f'{count} images .* at least 9 are needed'):
    frechet_distance(enough, moments(gaussians(1, count)))
  frechet_distance(enough, moments(gaussians(1, 9)))


def test_error_in_one_dimension_by_hand() -> None:
  """d² = (μ - m)² + (σ - s)², whose derivative towards an image is 2 (μ - m) y + (1 - s / σ) y²."""
  features = np.array([[0.0], [1.0], [2.0], [5.0]])
  y, sigma = features[:, 0] - 2.0, np.sqrt(14.0 / 3.0)
  pull = 2.0 * (2.0 - 7.0) * y + (1.0 - 3.0 / sigma) * y**2
  found = standard_error(gaussian([7.0], [[9.0]]), features)
  assert found == pytest.approx(np.std(pull, ddof=1) / 2.0)


def test_error_is_the_spread_over_repetitions() -> None:
  """And never much less than it, also where the distance is nothing but noise."""
  generator = np.random.default_rng(0)
  reference = moments(generator.normal(size=(5000, 6)))
  for shift, scale, least, most in ((0.5, 1.0, 0.85, 1.2), (0.0, 1.5, 0.85, 1.2), (0, 1, 0.9, 2)):
    sets = [shift + scale * generator.normal(size=(200, 6)) for _ in range(150)]
    spread = np.std([frechet_distance(reference, moments(x)) for x in sets], ddof=1)
    claimed = np.sqrt(np.mean([standard_error(reference, x) ** 2 for x in sets]))
    assert least < claimed / spread < most


def test_error_is_that_of_leaving_each_image_out(gaussians: Draw) -> None:
  reference, features = moments(gaussians(0, 2000)), gaussians(1, 300, scale=1.3) + 0.5
  left = [
    frechet_distance(reference, moments(np.delete(features, row, axis=0))) for row in range(300)
  ]
  jackknife = np.sqrt(299 / 300 * np.sum((left - np.mean(left)) ** 2))
  assert standard_error(reference, features) == pytest.approx(jackknife, rel=0.05)


def test_error_where_features_are_nearly_singular(gaussians: Draw) -> None:
  features = gaussians(1).astype(np.float64)
  plain = standard_error(moments(gaussians(0)[:, :7]), features[:, :7])
  features[:, 7] = features[:, 6] * 1e-9
  reference = gaussians(0).astype(np.float64)
  reference[:, 7] = 0.0
  assert standard_error(moments(reference), features) == pytest.approx(plain, rel=1e-6)


def test_bad_moments_are_refused(gaussians: Draw) -> None:
  good = moments(gaussians(0))
  with pytest.raises(ValueError, match='dimensions 8 and 5'):
    frechet_distance(good, moments(gaussians(0, dimension=5)))
  with pytest.raises(ValueError, match='not finite'):
    frechet_distance(good, good._replace(mean=good.mean * np.nan))
  with pytest.raises(ValueError, match='cannot be negative'):
    frechet_distance(good, good._replace(second=good.second + 1e6 * (1.0 - np.eye(8))))
  with pytest.raises(ValueError, match='All 500 images have the same features'):
    frechet_distance(good, moments(np.full((500, 8), 0.1, np.float32)))


def test_features_of_nothing_but_zeros_are_a_collapse() -> None:
  with pytest.raises(ValueError, match='All 5 images have the same features'):
    frechet.covariance(moments(np.zeros((5, 2))))
