"""Schedules, kernels, posteriors and samplers against Gaussians, whose diffusion is known."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from scipy import stats

from jaxgen.objectives.diffusion import process

RNG = np.random.default_rng(0)
SCHEDULES = [('linear', 1000), ('linear', 50), ('cosine', 1000), ('cosine', 10)]


@pytest.mark.parametrize(('schedule', 'timesteps'), SCHEDULES)
def test_marginal_equals_the_iterated_kernel(schedule: str, timesteps: int) -> None:
  """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps, step by step (eq. 2), gives eq. 4."""
  abar = process.alpha_bars(schedule, timesteps)
  factor, variance = 1.0, 0.0
  for t, beta in enumerate(process.SCHEDULES[schedule](timesteps), 1):
    factor, variance = np.sqrt(1 - beta) * factor, (1 - beta) * variance + beta
    a, s = np.sqrt(abar[t]), np.sqrt(1.0 - abar[t])
    np.testing.assert_allclose(process.diffuse(1.0, 0.0, a, s), factor, rtol=1e-5)
    np.testing.assert_allclose(process.diffuse(0.0, 1.0, a, s) ** 2, variance, rtol=1e-4)
  assert abar[0] == 1.0
  assert len(abar) == timesteps + 1


def test_linear_schedule_has_the_papers_ends() -> None:
  """beta from 1e-4 to 0.02 in 1000 steps (sec. 4), after which 4e-5 of the signal is left."""
  betas, abar = process.linear_betas(1000), process.alpha_bars('linear', 1000)
  assert betas[0] == pytest.approx(1e-4)
  assert betas[-1] == pytest.approx(0.02)
  np.testing.assert_allclose(np.diff(betas), (0.02 - 1e-4) / 999)
  assert abar[-1] == pytest.approx(4.036e-5, rel=1e-3)


@pytest.mark.parametrize('timesteps', [21, 100, 4000])
def test_linear_schedule_of_any_length_ends_near_the_same_noise(timesteps: int) -> None:
  total = process.linear_betas(timesteps).sum()
  assert total == pytest.approx(process.linear_betas(1000).sum())
  assert process.alpha_bars('linear', timesteps)[-1] < 5e-5


@pytest.mark.parametrize('timesteps', [10, 1000])
def test_cosine_schedule_follows_its_formula(timesteps: int) -> None:
  """Up to the last steps, whose beta is held at 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
  t = np.arange(timesteps + 1)
  f = np.cos((t / timesteps + 0.008) / 1.008 * np.pi / 2) ** 2
  abar = process.alpha_bars('cosine', timesteps)
  np.testing.assert_allclose(abar[:-1], (f / f[0])[:-1], rtol=1e-9)
  np.testing.assert_allclose(abar[-1], 1e-3 * abar[-2])
  assert process.cosine_betas(timesteps).max() == 0.999


@pytest.mark.parametrize(
  ('schedule', 'timesteps', 'message'),
  [('sigmoid', 10, 'choose one of linear, cosine'), ('linear', 20, 'at least 21 steps')],
)
def test_schedules_that_cannot_be(schedule: str, timesteps: int, message: str) -> None:
  with pytest.raises(ValueError, match=message):
    process.alpha_bars(schedule, timesteps)


def test_predict_x_0_inverts_diffuse() -> None:
  x_0, noise = (jnp.asarray(RNG.normal(size=(4, 3, 1)), jnp.float32) for _ in range(2))
  for abar in (0.999, 0.5, 0.01):
    scales = np.sqrt(abar), np.sqrt(1.0 - abar)
    x_t = process.diffuse(x_0, noise, *scales)
    np.testing.assert_allclose(process.predict_x_0(x_t, noise, *scales), x_0, atol=1e-5)


@pytest.mark.parametrize('schedule', ['linear', 'cosine'])
def test_tables_keep_the_digits_of_the_noise(schedule: str) -> None:
  """1 - alpha_bar begins at 4e-5, of which a float32 alpha_bar would leave three digits."""
  abar = process.alpha_bars(schedule, 1000)
  kernel = process.kernel(abar, 'small')
  np.testing.assert_allclose(kernel.s[1:] ** 2, 1.0 - abar[1:], rtol=5e-7)
  np.testing.assert_allclose(kernel.a**2, abar, rtol=5e-7)


def test_eta_adds_no_more_noise_than_there_is() -> None:
  """At the largest eta x_s keeps none of x_t's own noise at one step; beyond it there is none."""
  abar, times = process.alpha_bars('linear', 50), np.arange(51)
  with pytest.raises(ValueError, match=r'sampler.eta=9 must lie between 0 and') as caught:
    process.reverse_steps(abar, times, 9)
  most = float(str(caught.value).split()[-1])
  steps = process.reverse_steps(abar, times, most - 1e-3)
  assert steps.from_x_t[:-1].min() > 0.0
  with pytest.raises(ValueError, match=r'sampler\.eta='):
    process.reverse_steps(abar, times, most + 1e-3)
  with pytest.raises(ValueError, match=r'sampler\.eta=-0\.1'):
    process.reverse_steps(abar, times, -0.1)
  abar = process.alpha_bars('cosine', 25)  # where rounding leaves -2e-16 at the largest
  s, t = np.arange(1, 25), np.arange(2, 26)
  largest = np.sqrt(np.min((1.0 - abar[s]) / process.posterior_variance(abar[t], abar[s])))
  assert np.isfinite(process.reverse_steps(abar, np.arange(26), largest).from_x_t).all()


GRID = np.linspace(-12.0, 12.0, 40001)


@pytest.mark.parametrize(('s', 't'), [(1, 2), (9, 10), (10, 40), (49, 50)])
def test_posterior_equals_bayes_rule(s: int, t: int) -> None:
  """q(x_s | x_t, x_0) ~ q(x_t | x_s) q(x_s | x_0), multiplied and normalised on a grid."""
  abar, x_0, x_t = process.alpha_bars('linear', 50), 0.7, -0.4
  log_prior = stats.norm(np.sqrt(abar[s]) * x_0, np.sqrt(1 - abar[s])).logpdf(GRID)
  ratio = abar[t] / abar[s]
  log_product = log_prior + stats.norm(np.sqrt(ratio) * GRID, np.sqrt(1 - ratio)).logpdf(x_t)
  weights = np.exp(log_product - log_product.max())
  weights /= weights.sum()
  mean = weights @ GRID
  variance = weights @ (GRID - mean) ** 2
  np.testing.assert_allclose(process.posterior_variance(abar[t], abar[s]), variance, rtol=1e-6)
  (step,) = rows(process.reverse_steps(abar, np.array([s, t]) * [0, 1] + [s, 0]))
  np.testing.assert_allclose(step.from_x_0 * x_0 + step.from_x_t * x_t, mean, rtol=1e-6)
  np.testing.assert_allclose(step.deviation**2, variance, rtol=1e-6)


def rows(steps: process.Reverse) -> Iterator[process.Reverse]:
  """The table of reverse steps, step by step."""
  return map(process.Reverse._make, zip(*steps, strict=True))


MIXTURES = {
  'gaussian': ([1.0], [0.4], [0.3]),
  'mixture': ([0.3, 0.7], [-0.8, 0.5], [0.1, 0.3]),
}


@pytest.mark.parametrize('mixture', MIXTURES)
@pytest.mark.parametrize('abar', [0.9, 0.5, 0.05])
def test_score_of_the_mean_noise_is_the_gradient_of_log_p(mixture: str, abar: float) -> None:
  """Tweedie: E[eps | x_t] by quadrature over x_0 against autodiff of log p_t."""
  weights, means, deviations = (np.array(column) for column in MIXTURES[mixture])
  x_0 = np.linspace(-4.0, 4.0, 20001)
  prior = sum(
    w * stats.norm(m, d).pdf(x_0) for w, m, d in zip(weights, means, deviations, strict=True)
  )

  def log_p(x: jax.Array) -> jax.Array:
    variance = abar * deviations**2 + 1 - abar
    square = (x - np.sqrt(abar) * means) ** 2 / variance
    return logsumexp(jnp.asarray(np.log(weights) - 0.5 * np.log(variance)) - 0.5 * square)

  for x_t in (-1.2, 0.0, 0.9):
    noise = (x_t - np.sqrt(abar) * x_0) / np.sqrt(1 - abar)
    posterior = prior * stats.norm.pdf(noise)
    mean_noise = posterior @ noise / posterior.sum()
    expected = jax.grad(log_p)(jnp.float32(x_t))
    actual = process.score(jnp.float32(mean_noise), np.sqrt(1.0 - abar))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_ancestral_coefficients_are_the_papers() -> None:
  """Eq. 7 and both variances of sec. 3.2, written in betas."""
  abar, beta = process.alpha_bars('linear', 100), process.linear_betas(100)
  small = process.reverse_steps(abar, np.arange(101))
  large = process.reverse_steps(abar, np.arange(101), variance='large')
  np.testing.assert_array_equal(small.t, np.arange(100, 0, -1))
  for t, step, wide in zip(small.t, rows(small), rows(large), strict=True):
    b, now, before = beta[t - 1], abar[t], abar[t - 1]
    np.testing.assert_allclose(step.from_x_0, np.sqrt(before) * b / (1 - now), atol=1e-12)
    np.testing.assert_allclose(step.from_x_t, np.sqrt(1 - b) * (1 - before) / (1 - now), atol=1e-12)
    if t > 1:
      np.testing.assert_allclose(step.deviation**2, b * (1 - before) / (1 - now), atol=1e-12)
      np.testing.assert_allclose(wide.deviation**2, b, rtol=1e-9)
    np.testing.assert_allclose(wide[1:3], step[1:3])
  assert small.deviation[-1] == large.deviation[-1] == 0.0  # the last step shows the mean


@pytest.mark.parametrize('eta', [0.0, 0.3, 1.0])
def test_ddim_coefficients_are_the_papers(eta: float) -> None:
  """Song et al. 2021, eq. 12, in the predicted x_0 and noise, over uneven strides."""
  abar, times = process.alpha_bars('cosine', 100), np.array([0, 1, 7, 50, 99, 100])
  x_0, noise = RNG.normal(size=2)
  for s, step in zip(times[-2::-1], rows(process.reverse_steps(abar, times, eta)), strict=True):
    a_t, a_s = abar[step.t], abar[s]
    sigma = eta * np.sqrt((1 - a_s) / (1 - a_t)) * np.sqrt(1 - a_t / a_s)
    expected = np.sqrt(a_s) * x_0 + np.sqrt(1 - a_s - sigma**2) * noise
    x_t = np.sqrt(a_t) * x_0 + np.sqrt(1 - a_t) * noise
    np.testing.assert_allclose(step.from_x_0 * x_0 + step.from_x_t * x_t, expected, rtol=1e-6)
    np.testing.assert_allclose(step.deviation, sigma, atol=1e-9)
  if eta == 0.0:
    assert not process.reverse_steps(abar, times, eta).deviation.any()


def laws(
  steps: process.Reverse, abar: np.ndarray, m: float, v: float, mean: float, variance: float
) -> Iterator[tuple[float, float]]:
  """Mean and variance after every reverse step, with the exact denoiser of data N(m, v)."""
  for step in rows(steps):
    a = abar[step.t]
    gain = np.sqrt(a) * v / (a * v + 1 - a)  # E[x_0 | x_t] = m + gain (x_t - sqrt(a) m)
    slope = step.from_x_0 * gain + step.from_x_t
    mean = step.from_x_0 * (1 - gain * np.sqrt(a)) * m + slope * mean
    variance = slope**2 * variance + step.deviation**2
    yield mean, variance


@pytest.mark.parametrize('eta', [0.0, 0.5, 1.0])
@pytest.mark.parametrize('steps', [4, 30, 100])
def test_every_sampler_keeps_the_marginals_of_one_image(eta: float, steps: int) -> None:
  """Song et al. 2021, lemma 1: from q(x_T | x_0) all x_s are of law q(x_s | x_0)."""
  abar, m = process.alpha_bars('linear', 100), 0.6
  times = process.sampling_times(100, steps)
  table = process.reverse_steps(abar, times, eta)
  start = np.sqrt(abar[-1]) * m, 1 - abar[-1]
  for s, (mean, variance) in zip(times[-2::-1], laws(table, abar, m, 0.0, *start), strict=True):
    np.testing.assert_allclose(mean, np.sqrt(abar[s]) * m, atol=1e-9)
    np.testing.assert_allclose(variance, 1 - abar[s] if s else 0.0, atol=1e-9)


def test_large_variance_is_exact_for_unit_gaussian_data() -> None:
  """For x_0 ~ N(m, 1), beta_t is the variance of the true reverse step (sec. 3.2)."""
  abar, m = process.alpha_bars('linear', 50), -0.3
  table = process.reverse_steps(abar, np.arange(51), variance='large')
  start = np.sqrt(abar[-1]) * m, 1.0
  for step, (mean, variance) in zip(rows(table), laws(table, abar, m, 1.0, *start), strict=True):
    np.testing.assert_allclose(mean, np.sqrt(abar[step.t - 1]) * m, atol=1e-9)
    np.testing.assert_allclose(variance, 1.0 if step.t > 1 else abar[1], rtol=1e-9)


@pytest.mark.parametrize(('eta', 'variance'), [(1.0, 'small'), (1.0, 'large'), (0.0, 'small')])
def test_samplers_converge_to_gaussian_data_at_first_order(eta: float, variance: str) -> None:
  """From N(0, 1) to N(m, v): twice the steps, half the error in the variance."""
  m, v, errors = 0.5, 0.09, []
  for timesteps in (500, 1000, 2000):
    abar = process.alpha_bars('linear', timesteps)
    table = process.reverse_steps(abar, np.arange(timesteps + 1), eta, variance)
    *_, (mean, after) = laws(table, abar, m, v, 0.0, 1.0)
    errors.append(abs(after - v))
    assert mean == pytest.approx(m, abs=0.01)
  assert errors[1] < 0.06 * v
  ratios = np.divide(errors[:-1], errors[1:])
  np.testing.assert_allclose(ratios, 2.0, rtol=0.15)


@pytest.mark.parametrize(('timesteps', 'steps'), [(1000, 1000), (1000, 7), (10, 1), (50, 49)])
def test_sampling_times_are_even(timesteps: int, steps: int) -> None:
  times = process.sampling_times(timesteps, steps)
  assert len(times) == steps + 1
  assert (times[0], times[-1]) == (0, timesteps)
  assert np.abs(np.diff(times) - timesteps / steps).max() <= 1.0
  assert np.diff(times).min() >= 1


@pytest.mark.parametrize('steps', [0, 11])
def test_sampling_times_out_of_range(steps: int) -> None:
  with pytest.raises(ValueError, match=f'sampler.steps={steps} must lie between'):
    process.sampling_times(10, steps)


def test_sampling_times_are_rounded_to_the_nearest() -> None:
  np.testing.assert_array_equal(process.sampling_times(10, 4), [0, 2, 5, 8, 10])
