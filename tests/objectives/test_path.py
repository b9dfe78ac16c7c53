"""Paths through the noise, and what networks say of them."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion import prediction, process
from jaxgen.objectives.diffusion.path import Path, find_path
from jaxgen.objectives.diffusion.prediction import Prediction

PATHS = {name: find_path(name) for name in paths.PATHS}
TIMES = np.linspace(0.05, 0.95, 10)
each_path = pytest.mark.parametrize('path', PATHS.values(), ids=PATHS)


@each_path
def test_coefficients_follow_the_equation(path: Path) -> None:
  """a' = f a and (s^2)' = 2 f s^2 + g^2: the moments of dx = f x dt + g dw, by differences."""
  h = 1e-5
  a_slope = (path.a(TIMES + h) - path.a(TIMES - h)) / (2 * h)
  variance_slope = (path.s(TIMES + h) ** 2 - path.s(TIMES - h) ** 2) / (2 * h)
  np.testing.assert_allclose(a_slope, path.f(TIMES) * path.a(TIMES), rtol=1e-6, atol=1e-9)
  expected = 2 * path.f(TIMES) * path.s(TIMES) ** 2 + path.g2(TIMES)
  np.testing.assert_allclose(variance_slope, expected, rtol=1e-6, atol=1e-8)


@each_path
def test_marginals_are_those_of_the_forward_equation(path: Path) -> None:
  """10,000 steps of mean and variance from t = 0.1 to 0.8."""
  mean, variance = path.a(np.array(0.1)), path.s(np.array(0.1)) ** 2
  h = 0.7 / 10_000
  for t in 0.1 + h * (np.arange(10_000) + 0.5):
    mean, variance = (
      mean * (1 + h * path.f(t)),
      variance + h * (2 * path.f(t) * variance + path.g2(t)),
    )
  np.testing.assert_allclose(mean, path.a(np.array(0.8)), rtol=1e-3)
  np.testing.assert_allclose(variance, path.s(np.array(0.8)) ** 2, rtol=1e-3)


def test_published_ends() -> None:
  """Signal left by the variance-preserving paths, deviation of the exploding one."""
  one = np.array(1.0)
  np.testing.assert_allclose(PATHS['vp'].a(one), np.exp(-5.025))
  np.testing.assert_allclose(PATHS['vp'].a(one) ** 2 + PATHS['vp'].s(one) ** 2, 1.0)
  np.testing.assert_allclose(PATHS['subvp'].s(one), 1.0 - np.exp(-10.05))
  np.testing.assert_allclose(PATHS['ve'].s(np.array([0.0, 0.5, 1.0])), [0.01, 0.5**0.5, 50.0])


@each_path
def test_time_is_the_inverse_of_sigma(path: Path) -> None:
  times = np.concatenate([[1e-4], TIMES])
  np.testing.assert_allclose(path.time(path.sigma(times)), times, rtol=1e-9)
  np.testing.assert_allclose(
    path.log_snr(times), 2 * np.log(path.a(times) / path.s(times)), rtol=1e-12, atol=1e-12
  )


@each_path
def test_single_precision_keeps_the_digits_of_small_times(path: Path) -> None:
  t = np.float64(np.float32(1e-4))
  for function in (path.a, path.s, path.sigma):
    np.testing.assert_allclose(jax.jit(function)(jnp.float32(t)), function(t), rtol=1e-5)


TABLES = {name: process.alpha_bars(name, 100) for name in process.SCHEDULES}
each_table = pytest.mark.parametrize('table', TABLES.values(), ids=TABLES)


@each_table
def test_at_whole_numbers_a_discrete_path_is_its_table(table: np.ndarray) -> None:
  path, steps = paths.discrete(table), np.arange(1.0, 101.0)
  assert (path.first, path.last) == (1.0, 100.0)
  np.testing.assert_allclose(path.a(steps), np.sqrt(table[1:]), rtol=1e-11)
  np.testing.assert_allclose(path.s(steps), np.sqrt(1.0 - table[1:]), rtol=1e-11)
  np.testing.assert_array_equal(path.clock(steps), steps)
  single = jax.jit(path.a)(jnp.asarray(steps)), jax.jit(path.s)(jnp.asarray(steps))
  np.testing.assert_allclose(single[0], np.sqrt(table[1:]), rtol=1e-5)
  np.testing.assert_allclose(single[1], np.sqrt(1.0 - table[1:]), rtol=1e-5)


@each_table
def test_between_whole_numbers_the_log_snr_of_a_discrete_path_is_a_line(table: np.ndarray) -> None:
  path, steps = paths.discrete(table), np.arange(1.0, 101.0)
  log_snr = np.log(table[1:] / (1.0 - table[1:]))
  t = np.random.default_rng(0).uniform(1.0, 100.0, 200)
  np.testing.assert_allclose(path.log_snr(t), np.interp(t, steps, log_snr), atol=1e-10)
  np.testing.assert_allclose(path.a(t) ** 2 + path.s(t) ** 2, 1.0, rtol=1e-12)
  single = jax.jit(path.log_snr)(jnp.asarray(t, jnp.float32))
  np.testing.assert_allclose(single, path.log_snr(np.float64(np.float32(t))), atol=2e-3)


@each_table
def test_time_inverts_sigma_of_a_discrete_path_and_beyond_it(table: np.ndarray) -> None:
  path = paths.discrete(table)
  t = np.concatenate([[0.5, 1.0, 100.0, 100.5], np.linspace(1.0, 100.0, 34)])
  np.testing.assert_allclose(path.time(path.sigma(t)), t, rtol=1e-9)
  assert path.time(float(path.sigma(7.25))) == pytest.approx(7.25)
  single = path.time(jnp.asarray(path.sigma(t), jnp.float32))
  np.testing.assert_allclose(single, t, rtol=1e-4)


@each_table
def test_slopes_of_a_discrete_path_are_those_of_the_line_below(table: np.ndarray) -> None:
  path, h = paths.discrete(table), 1e-6
  for t in (np.linspace(1.05, 99.95, 77), np.arange(2.0, 101.0)):
    for function, slope in ((path.a, path.a_dot), (path.s, path.s_dot)):
      before = (function(t) - function(t - h)) / h
      np.testing.assert_allclose(slope(t), before, rtol=1e-4, atol=1e-7)
      single = jax.jit(slope)(jnp.asarray(t, jnp.float32))
      np.testing.assert_allclose(single, slope(np.float64(np.float32(t))), rtol=1e-4)


MEANINGS = {
  'noise': prediction.noise,
  'image': prediction.image,
  'v': prediction.v,
  'score': prediction.score,
  'velocity': prediction.velocity,
  'preconditioned': partial(prediction.preconditioned, deviation=0.6),
}


@each_path
@pytest.mark.parametrize('meaning', MEANINGS.values(), ids=MEANINGS)
def test_predictions_invert_exactly(path: Path, meaning: Callable[[Path], Prediction]) -> None:
  generator = np.random.default_rng(0)
  x_0, eps = generator.normal(size=(2, 10))
  predicted = meaning(path)
  x_t = path.a(TIMES) * x_0 + path.s(TIMES) * eps
  found = predicted.x_0(predicted.target(x_0, eps, TIMES), x_t, TIMES)
  np.testing.assert_allclose(found, x_0, rtol=1e-9, atol=1e-9)
  np.testing.assert_allclose(prediction.noise_in(path, x_t, found, TIMES), eps, atol=1e-8)


@each_path
def test_velocity_is_the_slope_of_the_path(path: Path) -> None:
  h = 1e-5
  slope = [(f(TIMES + h) - f(TIMES - h)) / (2 * h) for f in (path.a, path.s)]
  target = prediction.velocity(path).target(2.0, -3.0, TIMES)
  np.testing.assert_allclose(-target, 2.0 * slope[0] - 3.0 * slope[1], rtol=1e-6, atol=1e-8)


@each_path
def test_predictions_of_gaussian_data(path: Path) -> None:
  """The regression of each output on x_t leads to E[x_0 | x_t] of data N(0, 0.6^2)."""
  a, s = path.a(TIMES), path.s(TIMES)
  x_t = np.full_like(TIMES, 0.9)
  variance = a**2 * 0.36 + s**2
  expected = a * 0.36 * x_t / variance
  zero = prediction.preconditioned(path, 0.6).x_0(0.0, x_t, TIMES)
  np.testing.assert_allclose(zero, expected)
  found = prediction.score(path).x_0(-x_t / variance, x_t, TIMES)
  np.testing.assert_allclose(found, expected, atol=1e-12)


@each_path
@pytest.mark.parametrize('meaning', MEANINGS.values(), ids=MEANINGS)
def test_slopes_say_what_an_error_of_the_output_does_to_x_0(
  path: Path, meaning: Callable[[Path], Prediction]
) -> None:
  predicted, x_t = meaning(path), np.full_like(TIMES, 0.9)
  moved = predicted.x_0(1.3 + x_t, x_t, TIMES) - predicted.x_0(x_t, x_t, TIMES)
  np.testing.assert_allclose(moved, 1.3 * predicted.slope(TIMES), rtol=1e-9)


@each_path
def test_preconditioned_targets_have_unit_variance(path: Path) -> None:
  """Of data with that deviation, at any noise (Karras et al. 2022, app. B.6)."""
  generator = np.random.default_rng(0)
  x_0, eps = generator.normal(0.0, 0.6, 10**5), generator.normal(size=10**5)
  for t in (TIMES[0], TIMES[-1]):
    target = prediction.preconditioned(path, 0.6).target(x_0, eps, t)
    np.testing.assert_allclose([target.mean(), target.std()], [0.0, 1.0], atol=0.02)


def test_what_networks_are_told_is_of_the_order_of_a_diffusions_steps() -> None:
  """A thousand times t, a quarter of ln sigma, or the papers' time of the straight path."""
  t = np.array([0.25, 1.0])
  for name in ('vp', 'subvp', 've'):
    np.testing.assert_allclose(PATHS[name].clock(t), [250.0, 1000.0])
  np.testing.assert_allclose(PATHS['straight'].clock(t), [750.0, 0.0])
  np.testing.assert_allclose(PATHS['edm'].clock(np.exp(np.array([-2.0, 4.0]))), [-500.0, 1000.0])
