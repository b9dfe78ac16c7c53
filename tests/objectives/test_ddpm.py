"""The variational bound and its estimator, training and sampling, with denoisers in closed form."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen import diffusion
from jaxgen.objective import AXIS, Objective
from jaxgen.objectives.ddpm import ddpm

SHAPE, BITS = (2, 2, 1), 4 * np.log(2)
RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
M, V = 0.2, 0.09  # of Gaussian data


def tables(timesteps: int) -> np.ndarray:
  return diffusion.alpha_bars('linear', timesteps)


class Exact(nn.Module):
  """E[eps | x_t] of data N(mean, variance I)."""

  timesteps: int
  mean: float = M
  variance: float = V

  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    a = jnp.asarray(tables(self.timesteps), jnp.float32)[t]
    shift = x - jnp.sqrt(a) * self.mean
    return jnp.sqrt(1 - a) * shift / (a * self.variance + 1 - a)


class Blind(nn.Module):
  """Noise that makes the predicted x_0 zero, whatever x_t: every term of the bound is known."""

  timesteps: int

  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return x / jnp.sqrt(1 - jnp.asarray(tables(self.timesteps), jnp.float32)[t])


def model(
  network: nn.Module, shape: tuple[int, int, int] = SHAPE, **hyperparameters: Any
) -> Objective:
  """A diffusion model that need not be trained."""
  hyperparameters = {
    'steps': network.timesteps,
    'clip': False,
    'bound_samples': 1,
  } | hyperparameters
  return ddpm(network, optax.sgd(0.0), shape, network.timesteps, **hyperparameters)


def evaluate(model: Objective, images: np.ndarray) -> dict[str, np.ndarray]:
  """Metrics of every image, each under its own key."""
  keys = jax.random.split(jax.random.key(1), len(images))
  images = jnp.asarray(images, jnp.float32)
  metrics = jax.jit(jax.vmap(model.evaluate, in_axes=(None, 0, 0)))({}, images, keys)
  return {name: np.asarray(values, np.float64) for name, values in metrics.items()}


def training_losses(model: Objective, images: np.ndarray) -> np.ndarray:
  """The loss that each image alone is trained with, under a key of its own: (N,)."""
  update = jax.vmap(model.update, in_axes=None, out_axes=None, axis_name=AXIS, axis_size=1)
  state = optax.sgd(0.0).init({})

  def alone(image: jax.Array, key: jax.Array) -> jax.Array:
    return update({}, state, image[None], key[None])[2]['loss']

  keys = jax.random.split(jax.random.key(1), len(images))
  return np.asarray(jax.jit(jax.vmap(alone))(jnp.asarray(images, jnp.float32), keys), np.float64)


def samples(model: Objective, count: int) -> np.ndarray:
  keys = jax.random.split(jax.random.key(2), count)
  return np.asarray(jax.jit(jax.vmap(model.sample, in_axes=(None, 0)))({}, keys))


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
  beta, abar = diffusion.linear_betas(100), tables(100)
  kernel = jax.tree.map(np.asarray, diffusion.kernel(abar, variance))
  for t in range(2, 101):
    b = beta[t - 1]
    sigma2 = b * ((1 - abar[t - 1]) / (1 - abar[t]) if variance == 'small' else 1.0)
    np.testing.assert_allclose(kernel.variance_p[t], sigma2, rtol=1e-5)
    # A unit error in the noise is an error sqrt(1 - abar) / sqrt(abar) in x_0.
    weight = kernel.from_x_0[t] ** 2 * (1 - abar[t]) / abar[t] / (2 * kernel.variance_p[t])
    np.testing.assert_allclose(weight, b**2 / (2 * sigma2 * (1 - b) * (1 - abar[t])), rtol=1e-4)


def terms(x: np.ndarray, timesteps: int, variance: str) -> np.ndarray:
  """L_0, L_1, ..., L_T of one image and the blind denoiser, in bits per dimension."""
  abar, square = tables(timesteps), np.sum(x**2)
  sigma = np.sqrt((1 - abar[1]) / (1 - abar[2]) * (1 - abar[2] / abar[1]))
  h = 1 / 255
  result = [-np.log(stats.norm.cdf((x + h) / sigma) - stats.norm.cdf((x - h) / sigma)).sum()]
  for t in range(2, timesteps + 1):
    beta = 1 - abar[t] / abar[t - 1]
    q = (1 - abar[t - 1]) / (1 - abar[t]) * beta
    p = q if variance == 'small' else beta
    offset = abar[t - 1] * (beta / (1 - abar[t])) ** 2 * square
    result.append(0.5 * (x.size * (q / p - 1 - np.log(q / p)) + offset / p))
  last = abar[-1]
  result.append(0.5 * (x.size * (-last - np.log(1 - last)) + last * square))
  return np.array(result) / BITS


X = np.array([0.05, -0.02, 0.03, -0.06]).reshape(SHAPE)


@pytest.mark.parametrize('variance', ['small', 'large'])
def test_bound_over_all_times_is_the_sum_of_its_terms(variance: str) -> None:
  """With T - 1 strata every time is visited once: no randomness is left with this denoiser."""
  expected = terms(X, 50, variance)
  metrics = evaluate(model(Blind(50), variance=variance, bound_samples=49), np.stack([X] * 3))
  for name, value in {
    'l_0_bits_per_dimension': expected[0],
    'l_t-1_bits_per_dimension': expected[1:-1].sum(),
    'l_T_bits_per_dimension': expected[-1],
    'bits_per_dimension': expected.sum(),
  }.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-6, err_msg=name)


def test_bound_over_some_times_is_unbiased() -> None:
  expected = terms(X, 50, 'small')[1:-1].sum()
  images, spread = np.stack([X] * 4000), []
  for count in (1, 7):  # 7 strata of 49 times each hold 7 of them
    values = evaluate(model(Blind(50), bound_samples=count), images)['l_t-1_bits_per_dimension']
    spread.append(values.std())
    np.testing.assert_allclose(values.mean(), expected, atol=4 * spread[-1] / np.sqrt(4000))
  assert spread[1] < 0.5 * spread[0]  # strata are worth more than independent draws


@pytest.mark.parametrize('weighting', ['simple', 'variational'])
def test_loss_is_a_term_of_its_weighting_at_a_uniform_time(weighting: str) -> None:
  if weighting == 'simple':  # |eps - eps_theta|^2 = alpha_bar / (1 - alpha_bar) |x_0|^2
    abar = tables(50)[1:]
    known = abar / (1 - abar) * np.mean(X**2)
  else:
    known = 50 * terms(X, 50, 'small')[:-1]
  losses = training_losses(model(Blind(50), weighting=weighting), np.stack([X] * 4000))
  distance = np.abs(np.log(losses[:, None] / known))
  assert distance.min(1).max() < 0.01
  counts = np.bincount(distance.argmin(1), minlength=50)
  assert stats.chisquare(counts).pvalue > 0.01


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


@pytest.mark.parametrize(
  ('sampler', 'steps', 'eta', 'variance'),
  [
    ('ancestral', 200, 0.0, 'small'),  # eta is of ddim
    ('ancestral', 200, 0.0, 'large'),
    ('ddim', 100, 0.0, 'small'),
    ('ddim', 50, 0.5, 'small'),
  ],
)
def test_samples_have_the_moments_of_the_data(
  sampler: str, steps: int, eta: float, variance: str
) -> None:
  """Up to what so many steps lose, which the affine recursion tells exactly."""
  abar, mean, spread = tables(200), 0.0, 1.0
  times = diffusion.sampling_times(200, steps)
  table = diffusion.reverse_steps(abar, times, 1.0 if sampler == 'ancestral' else eta, variance)
  for t, from_x_0, from_x_t, deviation in zip(*table, strict=True):
    gain = np.sqrt(abar[t]) * V / (abar[t] * V + 1 - abar[t])
    slope = from_x_0 * gain + from_x_t
    mean = from_x_0 * (1 - gain * np.sqrt(abar[t])) * M + slope * mean
    spread = slope**2 * spread + deviation**2
  x = samples(model(Exact(200), sampler=sampler, steps=steps, eta=eta, variance=variance), 4000)
  np.testing.assert_allclose(x.mean(), mean, atol=5 * np.sqrt(spread / x.size))
  np.testing.assert_allclose(x.var(), spread, rtol=5 * np.sqrt(2 / x.size))
  np.testing.assert_allclose((mean, spread), (M, V), atol=0.03)


def test_ddim_with_eta_1_is_ancestral() -> None:
  ancestral = samples(model(Exact(40), sampler='ancestral', steps=10), 5)
  ddim = samples(model(Exact(40), sampler='ddim', eta=1.0, steps=10), 5)
  np.testing.assert_array_equal(ancestral, ddim)


def test_ddim_with_eta_0_is_an_affine_map_of_its_first_noise() -> None:
  """For Gaussian data; undone, it gives the same standard normal noise for any step count."""
  starts = []
  for steps in (5, 40):
    abar, slope, offset = tables(40), 1.0, 0.0
    table = diffusion.reverse_steps(abar, diffusion.sampling_times(40, steps), 0.0)
    for t, from_x_0, from_x_t, _ in zip(*table, strict=True):
      gain = np.sqrt(abar[t]) * V / (abar[t] * V + 1 - abar[t])
      slope *= from_x_0 * gain + from_x_t
      offset = from_x_0 * (1 - gain * np.sqrt(abar[t])) * M + (from_x_0 * gain + from_x_t) * offset
    x = samples(model(Exact(40), sampler='ddim', eta=0.0, steps=steps), 500)
    starts.append((x - offset) / slope)
  np.testing.assert_allclose(starts[0], starts[1], atol=1e-3)
  assert stats.kstest(starts[0].ravel(), 'norm').pvalue > 0.01


def test_clipping_bounds_samples() -> None:
  """A denoiser that expects data far outside is held to [-1, 1]."""
  wild = Exact(40, mean=9.0)
  assert samples(model(wild), 5).min() > 7.0
  np.testing.assert_array_equal(samples(model(wild, clip=True), 5), 1.0)


@pytest.mark.parametrize('steps', [4, 40])
def test_denoising_ends_in_the_sample(steps: int) -> None:
  objective = model(Exact(40), steps=steps)
  key = jax.random.key(3)
  pictures = objective.figures['denoising']({}, jnp.zeros((3, *SHAPE)), key)
  drawn = [objective.sample({}, k) for k in jax.random.split(key, 3)]
  np.testing.assert_allclose(pictures[:, -1], np.stack(drawn), atol=1e-5)
  noisy = np.asarray(pictures[:, 0]).std()
  assert noisy > 2 * np.sqrt(V)  # the first picture is still mostly noise


class Constant(nn.Module):
  """The same noise everywhere, which can be learned."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.broadcast_to(self.param('noise', nn.initializers.constant(30.0), (1, 1, 1)), x.shape)


@pytest.mark.parametrize('clip', [False, True])
def test_the_bound_is_clipped_where_it_is_reported_and_never_where_it_is_trained(
  clip: bool,
) -> None:
  """Noise of 30 puts every x_0 far outside [-1, 1], where a clip would stop the gradient."""
  objective = ddpm(
    Constant(), optax.sgd(1e-3), SHAPE, 50, weighting='variational', steps=50, clip=clip,
    bound_samples=49,
  )  # fmt: skip
  params, state = objective.init(jax.random.key(0))
  update = jax.vmap(objective.update, in_axes=None, out_axes=None, axis_name=AXIS, axis_size=1)
  metrics = update(params, state, jnp.asarray(X, jnp.float32)[None], jax.random.split(KEY, 1))[2]
  assert metrics['gradient_norm'] > 1.0  # 0 where every pixel is clipped
  found = objective.evaluate(params, jnp.asarray(X, jnp.float32), KEY)
  # Clipped, x_0 is off by at most 2 in each pixel, and each term of the bound by what that makes.
  kernel = diffusion.kernel(tables(50), 'small')
  most = np.sum(0.5 * kernel.from_x_0[2:] ** 2 * 4 * X.size / kernel.variance_p[2:]) / BITS
  assert (found['l_t-1_bits_per_dimension'] < most) == clip


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'weighting': 'snr'}, 'choose simple or variational'),
    ({'variance': 'learned'}, 'choose small or large'),
    ({'sampler': 'euler'}, 'sampler.name=.*choose ancestral or ddim'),
    ({'sampler': 'ddim', 'eta': 3.0}, r'sampler.eta=3.0 must lie between 0 and'),
    ({'eta': 1.0}, r'sampler.eta=1.0 has no effect on ancestral'),
    (
      {'bound_samples': 40},
      'evaluation.bound_samples=40 must lie between 1 and timesteps - 1 = 39',
    ),
    ({'steps': 41}, 'sampler.steps=41'),
  ],
)
def test_hyperparameters_that_cannot_be(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    model(Blind(40), **fields)
