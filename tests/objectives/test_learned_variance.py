"""Variances that are learned, or made of the network's errors: on Gaussian data both are known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.objectives.diffusion import error_table, process
from jaxgen.objectives.diffusion.ddpm import ddpm, reverse_steps
from tests.examples import draw, on_one_device
from tests.objectives.denoisers import SHAPE, Exact, evaluate, model, tables

T = 25
M, V = 0.1, 0.04  # of Gaussian data, which hardly ever leave [-1, 1]


def variances(timesteps: int) -> np.ndarray:
  """Of x_{t-1} given x_t for data N(M, V), by conditioning of two Gaussians, t = 1 ... T."""
  abar = tables(timesteps)
  before, now = abar[:-1], abar[1:]
  prior = before * V + 1 - before  # of x_{t-1}
  kept = now / before  # x_t = sqrt(kept) x_{t-1} + noise
  return prior - kept * prior**2 / (kept * prior + 1 - kept)


class Knowing(nn.Module):
  """E[eps | x_t], and the v at which the variance is that of x_{t-1} given x_t."""

  timesteps: int

  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    beta = process.linear_betas(self.timesteps)
    abar = tables(self.timesteps)
    low = beta[1:] * (1 - abar[1:-1]) / (1 - abar[2:])
    low = np.concatenate([low[:1], low])
    f = np.log(variances(self.timesteps) / low) / np.log(beta / low)
    v = jnp.asarray(np.concatenate([[0.0], 2 * f - 1]), jnp.float32)[t]
    return jnp.concatenate([Exact(self.timesteps, M, V, parent=None)(x, t), v + 0.0 * x], axis=-1)


def errors(timesteps: int) -> np.ndarray:
  """E|eps - E[eps | x_t]|^2 of data N(M, V), t = 0 ... T."""
  abar = tables(timesteps)
  return abar * V / (abar * V + 1 - abar)


NETWORKS = {name: Exact(T, M, V) for name in ('small', 'large', 'analytic')} | {
  'learned': Knowing(T)
}
TABLE = {'error': jnp.asarray(errors(T), jnp.float32), 'looks': jnp.ones(T + 1)}
PARAMS = {'analytic': {'network': {}, 'errors': TABLE}}  # the others have none


@pytest.mark.parametrize('stride', [1, 5])
def test_the_analytic_variance_is_that_of_the_reverse_step(stride: int) -> None:
  """Of x_s given x_t, by conditioning of two Gaussians, t - s = 1 or more, down to s = 0."""
  abar, times = tables(T), np.arange(0, T + 1, stride)
  steps = process.reverse_steps(abar, times)
  now, before = abar[steps.t], abar[times[-2::-1]]
  sigma = np.sqrt((1 - now) / now)
  found = process.analytic_variance(errors(T)[steps.t], steps.deviation**2, steps.from_x_0, sigma)
  prior, kept = before * V + 1 - before, now / before
  np.testing.assert_allclose(found, prior - kept * prior**2 / (kept * prior + 1 - kept), rtol=1e-9)


@pytest.mark.parametrize('schedule', process.SCHEDULES)
def test_at_both_ends_a_learned_variance_is_a_fixed_one(schedule: str) -> None:
  abar = process.alpha_bars(schedule, 100)
  small, large, learned = (
    jax.tree.map(np.asarray, process.kernel(abar, name)) for name in ('small', 'large', 'learned')
  )
  low, high, middle = (
    process.learned_variance(v, learned.variance_p, learned.log_range) for v in (-1.0, 1.0, 0.0)
  )
  np.testing.assert_array_equal(low, small.variance_p)
  np.testing.assert_allclose(high[2:], large.variance_p[2:], rtol=1e-5)
  np.testing.assert_allclose(high[1], 1.0 - abar[1], rtol=1e-5)  # beta_1
  np.testing.assert_allclose(middle[1:] ** 2, low[1:] * high[1:], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('steps', [25, 5])
def test_at_its_upper_end_a_learned_variance_of_fewer_steps_is_the_large_one(steps: int) -> None:
  fields = ('ancestral', steps, 0.0, {})
  found, log_range = reverse_steps(tables(T), 'learned', *fields)
  large, _ = reverse_steps(tables(T), 'large', *fields)
  upper = np.asarray(found.deviation**2 * np.exp(log_range))
  np.testing.assert_allclose(upper[:-1], np.asarray(large.deviation)[:-1] ** 2, rtol=1e-4)


def test_bound_with_the_exact_variance_is_the_entropy() -> None:
  """And below those of both fixed ones. Only the prior N(0, I) is not the law of x_T."""
  x = M + np.sqrt(V) * np.random.default_rng(0).normal(size=(400, *SHAPE))
  bits = {
    name: evaluate(model(network, variance=name, bound_samples=T - 1), x, PARAMS.get(name, {}))[
      'bits_per_dimension'
    ]
    for name, network in NETWORKS.items()
  }
  surprise = -stats.norm(M, np.sqrt(V)).logpdf(x).mean((1, 2, 3)) + np.log(127.5)
  excess = bits['learned'] - surprise / np.log(2)
  assert abs(excess.mean()) < 0.003 + 4 * excess.std() / np.sqrt(len(excess))
  for name in ('small', 'large'):
    more = bits[name] - bits['learned']  # of the same noise
    assert more.mean() > 5 * more.std() / np.sqrt(len(more))
  np.testing.assert_allclose(bits['analytic'], bits['learned'], rtol=1e-4)


def test_ancestral_sampling_with_the_exact_variance_is_exact() -> None:
  """In 25 steps, of which the last shows E[x_0 | x_1]; a fixed variance misses the law."""
  keys, now = jax.random.split(jax.random.key(2), 4000), tables(T)[1]
  expected = V * now * V / (now * V + 1 - now)
  ratios = {
    name: np.asarray(draw(model(network, variance=name), PARAMS.get(name, {}), keys)).var()
    / expected
    for name, network in NETWORKS.items()
  }
  close = 5 * np.sqrt(2 / (4 * 4000))
  assert abs(ratios['learned'] - 1.0) < close
  assert abs(ratios['analytic'] - 1.0) < close
  assert ratios['small'] < 1.0 - close
  assert ratios['large'] > 1.0 + close


class Heads(nn.Module):
  """A learned multiple of x as the noise, and a learned v where the variance is."""

  v: float | None = None

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    noise = self.param('mean', nn.initializers.constant(0.3), ()) * x
    if self.v is None:
      return noise
    v = self.param('variance', nn.initializers.constant(self.v), ())
    return jnp.concatenate([noise, v + 0.0 * x], axis=-1)


def trained(v: float | None, **fields: str) -> tuple[dict[str, float], dict[str, float]]:
  """The gradient, by its parameters' names, and metrics of a step on 64 examples."""
  objective = ddpm(Heads(v), optax.sgd(1.0), SHAPE, T, steps=T, bound_samples=1, **fields)
  params, memory = objective.init(jax.random.key(0))
  images = M + np.sqrt(V) * np.random.default_rng(0).normal(size=(64, *SHAPE))
  keys = jax.random.split(jax.random.key(1), 64)
  after, _, metrics = jax.jit(on_one_device(objective))(params, memory, images, keys)
  gradient = jax.tree.map(lambda old, new: float(old - new), params, after)['params']
  return gradient, jax.tree.map(float, metrics)


def test_the_bound_trains_the_variance_and_leaves_the_mean_alone() -> None:
  simple, _ = trained(None)
  hybrid, _ = trained(0.5, variance='learned')
  bound, _ = trained(0.5, variance='learned', weighting='variational')
  np.testing.assert_allclose(hybrid['mean'], simple['mean'], rtol=1e-5)
  assert abs(bound['mean'] / simple['mean'] - 1.0) > 0.1
  np.testing.assert_allclose(hybrid['variance'], 0.001 * bound['variance'], rtol=1e-3)
  assert np.isfinite(hybrid['variance'])
  assert hybrid['variance'] != 0.0


def test_the_hybrid_loss_is_that_of_the_noise_and_a_thousandth_of_the_bound() -> None:
  """At v = -1, where the variance is the small one."""
  hybrid = trained(-1.0, variance='learned')[1]['loss']
  simple, bound = (trained(None, weighting=w)[1]['loss'] for w in ('simple', 'variational'))
  np.testing.assert_allclose(hybrid, simple + 0.001 * bound, rtol=1e-5)


def test_a_network_without_the_channels_for_it_is_refused() -> None:
  objective = model(Exact(T, M, V), variance='learned')
  with pytest.raises(ValueError, match='needs a network of 2 output channels'):
    objective.sample({}, jnp.int32(-1), jax.random.key(0))


def test_training_keeps_the_mean_error_at_each_time() -> None:
  """Of E[eps | x_t]; the network itself learns as with any other variance."""
  images = M + np.sqrt(V) * np.random.default_rng(0).normal(size=(20_000, *SHAPE))
  keys = jax.random.split(jax.random.key(1), len(images))
  exact = model(Exact(T, M, V), variance='analytic')
  params, memory = exact.init(jax.random.key(0))
  np.testing.assert_array_equal(error_table.errors(params['errors']), 1.0)
  step = jax.jit(on_one_device(exact))
  once, _, metrics = step(params, memory, images, keys)
  np.testing.assert_allclose(error_table.errors(once['errors'])[1:], errors(T)[1:], rtol=0.15)
  assert once['errors']['looks'].sum() == pytest.approx(1.0)
  assert metrics.keys() == {'loss', 'gradient_norm', 'parameter_norm'}
  twice, _, _ = step(once, memory, images[::-1], keys)
  later = error_table.KEPT * once['errors']['looks'] + once['errors']['looks']
  np.testing.assert_allclose(twice['errors']['looks'], later, rtol=1e-5)


def test_an_analytic_variance_leaves_the_network_as_it_is() -> None:
  """It learns as beside any other."""
  objectives = [
    ddpm(Heads(), optax.sgd(1.0), SHAPE, T, steps=T, bound_samples=1, variance=name)
    for name in ('small', 'analytic')
  ]
  images = M + np.sqrt(V) * np.random.default_rng(0).normal(size=(64, *SHAPE))
  keys = jax.random.split(jax.random.key(1), 64)
  (small, _, _), (analytic, _, _) = (
    jax.jit(on_one_device(objective))(*objective.init(jax.random.key(0)), images, keys)
    for objective in objectives
  )
  np.testing.assert_allclose(*jax.tree.leaves((small, analytic['network'])), rtol=1e-6)
