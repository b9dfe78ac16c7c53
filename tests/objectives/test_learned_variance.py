"""Variances that the network learns, with the network that knows them of Gaussian data."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.objectives.diffusion import process
from jaxgen.objectives.diffusion.ddpm import ddpm
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


NETWORKS = {'small': Exact(T, M, V), 'large': Exact(T, M, V), 'learned': Knowing(T)}


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


def test_bound_with_the_exact_variance_is_the_entropy() -> None:
  """And below those of both fixed ones. Only the prior N(0, I) is not the law of x_T."""
  x = M + np.sqrt(V) * np.random.default_rng(0).normal(size=(400, *SHAPE))
  bits = {
    name: evaluate(model(network, variance=name, bound_samples=T - 1), x)['bits_per_dimension']
    for name, network in NETWORKS.items()
  }
  surprise = -stats.norm(M, np.sqrt(V)).logpdf(x).mean((1, 2, 3)) + np.log(127.5)
  excess = bits['learned'] - surprise / np.log(2)
  assert abs(excess.mean()) < 0.003 + 4 * excess.std() / np.sqrt(len(excess))
  for name in ('small', 'large'):
    more = bits[name] - bits['learned']  # of the same noise
    assert more.mean() > 5 * more.std() / np.sqrt(len(more))


def test_ancestral_sampling_with_the_exact_variance_is_exact() -> None:
  """In 25 steps, of which the last shows E[x_0 | x_1]; a fixed variance misses the law."""
  keys, now = jax.random.split(jax.random.key(2), 4000), tables(T)[1]
  expected = V * now * V / (now * V + 1 - now)
  ratios = {
    name: np.asarray(draw(model(network, variance=name), {}, keys)).var() / expected
    for name, network in NETWORKS.items()
  }
  close = 5 * np.sqrt(2 / (4 * 4000))
  assert abs(ratios['learned'] - 1.0) < close
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
