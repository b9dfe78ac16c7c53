"""The parts of the variational bound: divergences, the likelihood of grey levels, weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen import diffusion

RNG = np.random.default_rng(0)


def test_normal_kl_equals_monte_carlo() -> None:
  difference, variance_q, variance_p = RNG.normal(size=3), 0.3, 0.8
  q = stats.norm(difference, np.sqrt(variance_q))
  x = q.rvs((200_000, 3), random_state=RNG)
  log_ratio = (q.logpdf(x) - stats.norm(0, np.sqrt(variance_p)).logpdf(x)).sum(1)
  actual = diffusion.normal_kl(jnp.asarray(difference), variance_q, variance_p)
  np.testing.assert_allclose(log_ratio.mean(), actual, atol=5 * log_ratio.std() / 447)
  assert diffusion.normal_kl(jnp.zeros(3), 0.3, 0.3) == 0.0


LEVELS = np.arange(256) / 127.5 - 1.0


@pytest.mark.parametrize('deviation', [0.003, 0.0074, 0.05, 0.7, 5.0])
@pytest.mark.parametrize('mean', [-1.3, -1.0, -0.5019, 0.0, 0.333, 1.1])
def test_discretized_likelihood_is_a_distribution_over_levels(
  mean: float, deviation: float
) -> None:
  """Probabilities sum to one and are differences of scipy's normal distribution function."""
  log_p = jax.vmap(diffusion.discretized_log_likelihood, in_axes=(0, None, None))(
    jnp.asarray(LEVELS, jnp.float32), jnp.float32(mean), deviation
  )
  np.testing.assert_allclose(np.exp(np.asarray(log_p, np.float64)).sum(), 1.0, rtol=1e-3)
  edges = np.concatenate([[-np.inf], LEVELS[:-1] + 1 / 255, [np.inf]])
  # From the tail that is nearer, where the difference keeps its digits.
  p = np.abs(np.diff(stats.norm(mean, deviation).cdf(edges)))
  q = np.abs(np.diff(stats.norm(mean, deviation).sf(edges)))
  expected = np.where(edges[1:] < mean, p, q)
  likely = expected > 1e-30
  np.testing.assert_allclose(log_p[likely], np.log(expected[likely]), rtol=2e-3, atol=2e-3)
  assert np.isfinite(log_p).all()


def test_discretized_likelihood_has_a_gradient_everywhere() -> None:
  gradient = jax.vmap(jax.grad(diffusion.discretized_log_likelihood, argnums=1), (0, None, None))
  for mean in (-1.5, 0.0, 0.9):
    values = gradient(jnp.asarray(LEVELS, jnp.float32), jnp.float32(mean), 0.0074)
    assert np.isfinite(values).all()
    # The outermost levels own everything beyond them, where nothing is left to gain.
    outside = (np.abs(LEVELS - mean) > 0.02) & (np.abs(LEVELS) < 1.0)
    assert (np.sign(values)[outside] == np.sign(LEVELS - mean)[outside]).all()


@pytest.mark.parametrize('variance', ['small', 'large'])
def test_weights_of_the_bound_are_the_papers(variance: str) -> None:
  """L_{t-1} = beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) |eps - eps_theta|^2 + C (eq. 12)."""
  beta, abar = diffusion.linear_betas(100), diffusion.alpha_bars('linear', 100)
  kernel = jax.tree.map(np.asarray, diffusion.kernel(abar, variance))
  for t in range(2, 101):
    b = beta[t - 1]
    sigma2 = b * ((1 - abar[t - 1]) / (1 - abar[t]) if variance == 'small' else 1.0)
    np.testing.assert_allclose(kernel.variance_p[t], sigma2, rtol=1e-5)
    # A unit error in the noise is an error sqrt(1 - abar) / sqrt(abar) in x_0.
    weight = kernel.from_x_0[t] ** 2 * (1 - abar[t]) / abar[t] / (2 * kernel.variance_p[t])
    np.testing.assert_allclose(weight, b**2 / (2 * sigma2 * (1 - b) * (1 - abar[t])), rtol=1e-4)
