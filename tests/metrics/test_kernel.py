"""Kernel distance: the estimator by its definition, its expectation, its standard error."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from jaxgen.metrics.kernel import divide, kernel_distance, squared_mmd

Draw = Callable[..., np.ndarray]


def test_two_points_each_by_hand() -> None:
  x, y = np.array([[0.0], [1.0]]), np.array([[2.0], [-1.0]])
  within = (0.0 + 1.0) ** 3 + (-2.0 + 1.0) ** 3
  between = np.mean([1.0, 1.0, (2.0 + 1.0) ** 3, (-1.0 + 1.0) ** 3])
  assert squared_mmd(x, y) == pytest.approx(within - 2.0 * between)


def test_agrees_with_scikit_learn_pair_by_pair(gaussians: Draw) -> None:
  x, y = gaussians(0, 60).astype(float), gaussians(1, 50, scale=1.1).astype(float)
  kernel = polynomial_kernel(np.concatenate([x, y]), degree=3, coef0=1.0)
  different = ~np.eye(110, dtype=bool)
  same_x, same_y = different[:60, :60], different[60:, 60:]
  expected = (
    kernel[:60, :60][same_x].mean() + kernel[60:, 60:][same_y].mean() - 2 * kernel[:60, 60:].mean()
  )
  assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-9)


def test_expectation_is_the_closed_form_of_two_shifted_gaussians() -> None:
  """d = 1, x ~ N(0, 1), y ~ N(1, 1): E(xy + 1)³ from the Gaussian moments 1, m, 1+m², m³+3m."""

  def expected(m: float, n: float) -> float:
    return 1.0 + 3.0 * m * n + 3.0 * (1 + m * m) * (1 + n * n) + (m**3 + 3 * m) * (n**3 + 3 * n)

  truth = expected(0, 0) + expected(1, 1) - 2.0 * expected(0, 1)
  generator = np.random.default_rng(0)
  x, y = generator.normal(size=(20000, 1)), generator.normal(1.0, size=(20000, 1))
  distance = kernel_distance(x, y, subset_size=200)
  assert distance.subsets.count == 100
  assert abs(distance.mean - truth) < 4.0 * distance.standard_error
  assert distance.standard_error < 0.1 * truth


def test_standard_error_is_the_spread_over_repetitions() -> None:
  """Also with few subsets, and where the truth is zero: no bias, honest error."""
  generator = np.random.default_rng(1)
  results = [
    kernel_distance(generator.normal(size=(200, 4)), generator.normal(size=(200, 4)))
    for _ in range(200)
  ]
  means = np.array([r.mean for r in results])
  claimed = np.sqrt(np.mean([r.standard_error**2 for r in results]))
  assert abs(means.mean()) < 4.0 * means.std() / np.sqrt(200)
  assert claimed == pytest.approx(means.std(), rel=0.2)


def test_same_seed_same_number_and_defaults_fit_small_sets(gaussians: Draw) -> None:
  x, y = gaussians(0, 360), gaussians(1, 400)
  assert kernel_distance(x, y, seed=1) == kernel_distance(x, y, seed=1)
  assert kernel_distance(x, y, seed=1) != kernel_distance(x, y, seed=2)
  assert kernel_distance(x, y).subsets == (10, 36, 40)


def test_the_larger_set_is_used_as_far_as_it_goes() -> None:
  assert divide(1000, 10_000) == (10, 100, 1000)
  assert divide(1000, 10_000).used == (1000, 10_000)
  assert divide(54_000, 1000).used == (10_000, 1000)
  assert divide(10_000, 10_000) == (10, 1000, 1000)
  assert divide(1037, 360) == (10, 103, 36)
  generator = np.random.default_rng(2)
  x, y = generator.normal(size=(100, 4)), generator.normal(size=(3000, 4))
  whole = kernel_distance(x, y)
  for row in (0, 1500, 2999):
    moved = y.copy()
    moved[row] += 50.0
    assert kernel_distance(x, moved).mean != whole.mean


def test_unequal_subsets_are_unbiased_with_an_honest_error() -> None:
  generator = np.random.default_rng(3)
  results = [
    kernel_distance(generator.normal(size=(100, 3)), generator.normal(size=(700, 3)))
    for _ in range(200)
  ]
  means = np.array([r.mean for r in results])
  claimed = np.sqrt(np.mean([r.standard_error**2 for r in results]))
  assert results[0].subsets == (10, 10, 70)
  assert abs(means.mean()) < 4.0 * means.std() / np.sqrt(200)
  assert claimed == pytest.approx(means.std(), rel=0.2)


def test_bad_input_is_refused(gaussians: Draw) -> None:
  x = gaussians(0)
  with pytest.raises(ValueError, match='do not fill two subsets of 300'):
    kernel_distance(x, x, subset_size=300)
  with pytest.raises(ValueError, match='subset_size from 2'):
    kernel_distance(x, x, subset_size=1)
  with pytest.raises(ValueError, match='at least 4 images'):
    kernel_distance(x[:3], x)
  with pytest.raises(ValueError, match='dimension 8, the second features 7'):
    kernel_distance(x, x[:, :7])


def test_subsets_are_drawn_with_seed_zero_unless_another_is_named(gaussians: Draw) -> None:
  x, y = gaussians(0, 60), gaussians(1, 60)
  assert kernel_distance(x, y) == kernel_distance(x, y, seed=0)
  assert kernel_distance(x, y) != kernel_distance(x, y, seed=1)


def test_the_error_of_two_subsets_is_unbiased() -> None:
  """Its square is the variance of the mean: half of that is what dividing by two would say."""
  generator = np.random.default_rng(4)
  results = [
    kernel_distance(*generator.normal(size=(2, 20, 2)), subset_size=10, seed=seed)
    for seed in range(1000)
  ]
  variance = np.var([r.mean for r in results])
  assert np.mean([r.standard_error**2 for r in results]) == pytest.approx(variance, rel=0.25)
