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
  """Noise that makes the predicted x_0 a constant, whatever x_t: the bound's terms are known."""

  timesteps: int
  x_0: float = 0.0

  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    a = jnp.asarray(tables(self.timesteps), jnp.float32)[t]
    return (x - jnp.sqrt(a) * self.x_0) / jnp.sqrt(1 - a)


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


def samples(model: Objective, count: int) -> np.ndarray:
  keys = jax.random.split(jax.random.key(2), count)
  return np.asarray(jax.jit(jax.vmap(model.sample, in_axes=(None, 0)))({}, keys))


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
  step = jax.vmap(objective.update, in_axes=None, out_axes=None, axis_name=AXIS, axis_size=1)

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
