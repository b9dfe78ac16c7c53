"""The variational bound: its parts, its terms, how they are estimated and trained."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.objectives import distributions
from jaxgen.objectives.diffusion import process
from tests.examples import on_one_device
from tests.objectives.denoisers import SHAPE, Blind, Exact, evaluate, model, tables

BITS = 4 * np.log(2)
RNG = np.random.default_rng(0)


def test_normal_kl_equals_monte_carlo() -> None:
  difference, variance_q, variance_p = RNG.normal(size=3), 0.3, 0.8
  q = stats.norm(difference, np.sqrt(variance_q))
  x = q.rvs((200_000, 3), random_state=RNG)
  log_ratio = (q.logpdf(x) - stats.norm(0, np.sqrt(variance_p)).logpdf(x)).sum(1)
  actual = distributions.normal_kl(jnp.asarray(difference), variance_q, variance_p)
  np.testing.assert_allclose(log_ratio.mean(), actual, atol=5 * log_ratio.std() / 447)
  assert distributions.normal_kl(jnp.zeros(3), 0.3, 0.3) == 0.0


LEVELS = np.arange(256) / 127.5 - 1.0


@pytest.mark.parametrize('deviation', [0.003, 0.0074, 0.05, 0.7, 5.0])
@pytest.mark.parametrize('mean', [-1.3, -1.0, -0.5019, 0.0, 0.333, 1.1])
def test_discretized_likelihood_is_a_distribution_over_levels(
  mean: float, deviation: float
) -> None:
  """Probabilities sum to one and are differences of scipy's normal distribution function."""
  log_p = jax.vmap(distributions.discretized_log_likelihood, in_axes=(0, None, None))(
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
  gradient = jax.vmap(
    jax.grad(distributions.discretized_log_likelihood, argnums=1), (0, None, None)
  )
  for mean in (-1.5, 0.0, 0.9):
    values = gradient(jnp.asarray(LEVELS, jnp.float32), jnp.float32(mean), 0.0074)
    assert np.isfinite(values).all()
    # The outermost levels own everything beyond them, where nothing is left to gain.
    outside = (np.abs(LEVELS - mean) > 0.02) & (np.abs(LEVELS) < 1.0)
    assert (np.sign(values)[outside] == np.sign(LEVELS - mean)[outside]).all()


@pytest.mark.parametrize('variance', ['small', 'large'])
def test_weights_of_the_bound_are_the_papers(variance: str) -> None:
  """L_{t-1} = beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) |eps - eps_theta|^2 + C (eq. 12)."""
  beta, abar = process.linear_betas(100), process.alpha_bars('linear', 100)
  kernel = jax.tree.map(np.asarray, process.kernel(abar, variance))
  for t in range(2, 101):
    b = beta[t - 1]
    sigma2 = b * ((1 - abar[t - 1]) / (1 - abar[t]) if variance == 'small' else 1.0)
    np.testing.assert_allclose(kernel.variance_p[t], sigma2, rtol=1e-5)
    # A unit error in the noise is an error sqrt(1 - abar) / sqrt(abar) in x_0.
    weight = kernel.from_x_0[t] ** 2 * (1 - abar[t]) / abar[t] / (2 * kernel.variance_p[t])
    np.testing.assert_allclose(weight, b**2 / (2 * sigma2 * (1 - b) * (1 - abar[t])), rtol=1e-4)


def terms(x: np.ndarray, timesteps: int, variance: str, x_0: float = 0.0) -> np.ndarray:
  """L_0, ..., L_T of one image and a denoiser that sees x_0 everywhere, in bits per dimension."""
  abar, square = tables(timesteps), np.sum((x - x_0) ** 2)
  sigma = np.sqrt((1 - abar[1]) / (1 - abar[2]) * (1 - abar[2] / abar[1]))
  h = 1 / 255
  # From the upper tail, where x_0 >= x: logs of it keep their digits however far off x_0 is.
  near, far = (stats.norm.logsf((x_0 - x + d) / sigma) for d in (-h, h))
  result = [-np.sum(near + np.log1p(-np.exp(far - near)))]
  for t in range(2, timesteps + 1):
    beta = 1 - abar[t] / abar[t - 1]
    q = (1 - abar[t - 1]) / (1 - abar[t]) * beta
    p = q if variance == 'small' else beta
    offset = abar[t - 1] * (beta / (1 - abar[t])) ** 2 * square
    result.append(0.5 * (x.size * (q / p - 1 - np.log(q / p)) + offset / p))
  last = abar[-1]
  result.append(0.5 * (x.size * (-last - np.log(1 - last)) + last * np.sum(x**2)))
  return np.array(result) / BITS


def check_terms(metrics: dict[str, np.ndarray], expected: np.ndarray) -> None:
  for name, value in {
    'l_0_bits_per_dimension': expected[0],
    'l_t-1_bits_per_dimension': expected[1:-1].sum(),
    'l_T_bits_per_dimension': expected[-1],
    'bits_per_dimension': expected.sum(),
  }.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-6, err_msg=name)


X = np.array([0.05, -0.02, 0.03, -0.06]).reshape(SHAPE)


@pytest.mark.parametrize('variance', ['small', 'large'])
def test_bound_over_all_times_is_the_sum_of_its_terms(variance: str) -> None:
  """With T - 1 strata every time is visited once: no randomness is left with this denoiser."""
  expected = terms(X, 50, variance)
  metrics = evaluate(model(Blind(50), variance=variance, bound_samples=49), np.stack([X] * 3))
  check_terms(metrics, expected)


@pytest.mark.parametrize('clip', [True, False])
def test_bound_is_that_of_the_model_that_samples(clip: bool) -> None:
  """A denoiser that sees 3 everywhere sees 1 where samples are clipped; L_T knows no denoiser."""
  x = np.array([0.95, 0.9, 0.85, 0.8]).reshape(SHAPE)
  expected = terms(x, 50, 'small', x_0=1.0 if clip else 3.0)
  objective = model(Blind(50, x_0=3.0), clip=clip, bound_samples=49)
  metrics = evaluate(objective, np.stack([x] * 3))
  check_terms(metrics, expected)


def test_bound_over_some_times_is_unbiased() -> None:
  expected = terms(X, 50, 'small')[1:-1].sum()
  images, spread = np.stack([X] * 4000), []
  for count in (1, 7):  # 7 strata of 49 times each hold 7 of them
    values = evaluate(model(Blind(50), bound_samples=count), images)['l_t-1_bits_per_dimension']
    spread.append(values.std())
    np.testing.assert_allclose(values.mean(), expected, atol=4 * spread[-1] / np.sqrt(4000))
  assert spread[1] < 0.5 * spread[0]  # strata are worth more than independent draws


class Learning(nn.Module):
  """Sees one learned x_0 everywhere, which starts at 3."""

  timesteps: int

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    x_0 = self.param('x_0', nn.initializers.constant(3.0), ())
    return Blind(self.timesteps, x_0, parent=None)(x, t)


def uniform_places(values: np.ndarray, known: np.ndarray) -> np.ndarray:
  """The place in `known` of each of the values, all of which must be there, equally often."""
  distance = np.abs(np.log(values[:, None] / known))
  assert distance.min(1).max() < 0.01
  places = distance.argmin(1)
  assert stats.chisquare(np.bincount(places, minlength=len(known))).pvalue > 0.01
  return places


@pytest.mark.parametrize('weighting', ['simple', 'variational'])
def test_error_of_the_noise_is_held_out_at_a_uniform_time(weighting: str) -> None:
  """|eps - eps_theta|^2 = alpha_bar / (1 - alpha_bar) |x_0|^2, whatever was trained."""
  metrics = evaluate(model(Blind(50), weighting=weighting), np.stack([X] * 4000))
  abar = tables(50)[1:]
  uniform_places(metrics['noise_squared_error'], abar / (1 - abar) * np.mean(X**2))


@pytest.mark.parametrize('weighting', ['simple', 'variational'])
def test_training_takes_a_term_of_its_weighting_at_a_uniform_time(weighting: str) -> None:
  """Unclipped, with its gradient: a prediction that sampling would clip has still to be learned."""
  image = np.array([0.95, 0.9, 0.85, 0.8]).reshape(SHAPE)
  objective = model(Learning(50), clip=True, weighting=weighting)
  params, opt_state = objective.init(jax.random.key(0))
  step = on_one_device(objective)

  def train(key: jax.Array) -> Any:
    return step(params, opt_state, jnp.asarray(image, jnp.float32)[None], key[None])[2]

  metrics = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(1), 4000))

  def losses(x_0: float) -> np.ndarray:
    if weighting == 'variational':
      return 50 * terms(image, 50, 'small', x_0)[:-1]
    abar = tables(50)[1:]  # |eps - eps_theta|^2 = alpha_bar / (1 - alpha_bar) |x_0 - image|^2
    return abar / (1 - abar) * np.mean((x_0 - image) ** 2)

  t = uniform_places(np.asarray(metrics['loss']), losses(3.0))
  slopes = (losses(3.01) - losses(2.99)) / 0.02
  np.testing.assert_allclose(metrics['gradient_norm'], slopes[t], rtol=1e-2)


def test_bound_of_the_exact_denoiser_is_close_to_the_entropy() -> None:
  """For data N(0, v): above the surprise in bits of 1/127.5, by what T steps must lose."""
  v = 0.04
  images = np.sqrt(v) * RNG.normal(size=(20, 16, 16, 1))
  exact = Exact(1000, mean=0.0, variance=v)
  objective = model(exact, (16, 16, 1), variance='large', bound_samples=999)
  metrics = evaluate(objective, images)
  surprise = -stats.norm(0, np.sqrt(v)).logpdf(images).mean((1, 2, 3)) + np.log(127.5)
  excess = metrics['bits_per_dimension'] - surprise / np.log(2)
  error = excess.std() / np.sqrt(len(excess))
  assert 0.0 < excess.mean() < 0.2
  assert error < 0.04

  abar, t = tables(1000), np.arange(2, 1001)
  beta, ratio = 1 - abar[t] / abar[t - 1], (1 - abar[t - 1]) / (1 - abar[t])
  weight = abar[t - 1] * (beta / (1 - abar[t])) ** 2 / (2 * beta)
  unknown = v * (1 - abar[t]) / (abar[t] * v + 1 - abar[t])  # variance of x_0 given x_t
  middle = np.sum(0.5 * (ratio - 1 - np.log(ratio)) + weight * unknown) / np.log(2)
  terms = metrics['l_t-1_bits_per_dimension']
  np.testing.assert_allclose(terms.mean(), middle, atol=4 * terms.std() / np.sqrt(len(terms)))
