"""The variational diffusion model on Gaussian pixels, whose bound is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion import samplers
from jaxgen.objectives.diffusion.vdm import GAMMA, fourier_features, reconstruction, vdm, warn
from tests.examples import draw, examples, on_one_device

SHAPE = (2, 2, 1)
C = 0.3


class Exact(nn.Module):
  """E[eps | z] of data N(0, C^2), of an input whose first channel is z; or off by this."""

  error: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    gamma = GAMMA[0] + t / 1000.0 * (GAMMA[1] - GAMMA[0])
    s, a = jnp.sqrt(jax.nn.sigmoid(gamma)), jnp.sqrt(jax.nn.sigmoid(-gamma))
    one = self.param('one', nn.initializers.ones, ())
    return one * s * x[..., :1] / (a**2 * C**2 + s**2) + self.error


def model(error: float = 0.0) -> Objective:
  descent = samplers.find(paths.vp(), 'dpm_solver_2m', 60, sigma_min=0.005, sigma_max=12.0)
  return vdm(Exact(error), optax.sgd(0.0), SHAPE, descent)


def pixels(count: int) -> np.ndarray:
  """Grey levels that are nearest to draws of the data."""
  drawn = np.clip(np.random.default_rng(0).normal(0, C, (count, *SHAPE)), -1.0, 1.0)
  return (np.round((drawn + 1.0) * 127.5) / 127.5 - 1.0).astype(np.float32)


@pytest.mark.parametrize('error', [0.0, 0.1])
@pytest.mark.parametrize('first', [GAMMA[0], -8.0])
def test_bound_of_the_exact_denoiser(first: float, error: float) -> None:
  """1/2 int c^2 / (c^2 + e^gamma) and the ends, and (gamma_1 - gamma_0) e^2 / 2 with an error.

  It is the entropy where noise begins above the grey levels' distance, -8, and more below it, where
  a denoiser of the Gaussian does not see that there are levels.
  """
  objective = model(error)
  images, keys = pixels(20_000), jax.random.split(jax.random.key(1), 20_000)
  params, memory = objective.init(jax.random.key(0))
  params = params | {'gamma': jnp.array([first, GAMMA[1]])}
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, 0)))
  held_out = {k: float(v.mean()) for k, v in evaluate(params, examples(images), keys).items()}
  trained = jax.jit(on_one_device(objective))(params, memory, images, keys)[2]

  wrong = 0.5 * (GAMMA[1] - first) * error**2
  below, above = (gamma - np.log(C**2 + np.exp(gamma)) for gamma in (first, GAMMA[1]))
  diffusion = 0.5 * (above - below) + wrong
  signal = 1 / (1 + np.exp(GAMMA[1]))  # a^2 at the end
  prior = 0.5 * (signal * np.mean(images**2) - signal - np.log1p(-signal))
  nats = {name.split('_')[0]: bits * np.log(2) for name, bits in held_out.items()}
  assert nats['diffusion'] == pytest.approx(diffusion, rel=0.01)
  assert nats['prior'] == pytest.approx(prior, rel=1e-3)
  parts = nats['diffusion'] + nats['prior'] + nats['reconstruction']
  assert nats['bits'] == pytest.approx(parts, rel=1e-5)
  assert trained['loss'] * np.log(2) == pytest.approx(nats['bits'], rel=0.01)

  edges = (np.arange(257) - 0.5) / 127.5 - 1.0
  mass = np.diff(stats.norm(scale=C).cdf(edges))
  entropy = -np.sum(mass * np.log(np.where(mass > 0, mass, 1.0)))
  if first == -8.0:
    assert nats['bits'] == pytest.approx(entropy + wrong, abs=0.02)
  else:
    assert nats['bits'] > entropy + wrong + 0.3
    assert nats['reconstruction'] < 0.02


def test_ends_of_the_noise_are_learned() -> None:
  """They have a gradient, and the bound falls along it."""
  objective = model()
  params, _ = objective.init(jax.random.key(0))
  images, keys = examples(pixels(200)), jax.random.split(jax.random.key(1), 200)

  def bound(gamma: jax.Array) -> jax.Array:
    found = jax.vmap(objective.evaluate, in_axes=(None, 0, 0))(
      params | {'gamma': gamma}, images, keys
    )
    return found['bits_per_dimension'].mean()

  near = jnp.array([-8.0, 3.0])
  before, slope = jax.jit(jax.value_and_grad(bound))(near)
  assert np.abs(slope).min() > 1e-6
  assert jax.jit(bound)(near - 0.1 * slope / jnp.linalg.norm(slope)) < before


def test_reconstruction_is_a_distribution_over_levels() -> None:
  """Its probabilities of all 256 levels sum to one, and peak at the nearest."""
  z_0, gamma = jnp.full((1, 1, 1), 0.25), jnp.float32(-9.0)
  levels = np.linspace(-1, 1, 256, dtype=np.float32).reshape(-1, 1, 1, 1)
  nats = jax.vmap(reconstruction, in_axes=(0, None, None))(jnp.asarray(levels), z_0, gamma)
  mass = np.exp(-np.asarray(nats, np.float64))
  assert mass.sum() == pytest.approx(1.0, abs=1e-4)
  assert levels[mass.argmax()].item() == pytest.approx(0.25, abs=1 / 127.5)


def test_fourier_features_turn_at_powers_of_two() -> None:
  z = jnp.array([[[0.125], [-0.3]]])
  found = fourier_features(z, (0, 2))
  expected = [z, np.sin(2 * np.pi * z), np.sin(8 * np.pi * z), np.cos(2 * np.pi * z)]
  np.testing.assert_allclose(found[..., :4], np.concatenate(expected, axis=-1), atol=1e-5)
  assert found.shape == (1, 2, 5)


def test_samples_are_of_the_data() -> None:
  objective = model()
  params, _ = objective.init(jax.random.key(0))
  x = draw(objective, params, jax.random.split(jax.random.key(1), 4000))
  assert x.mean() == pytest.approx(0.0, abs=0.02)
  assert x.std() == pytest.approx(C, rel=0.02)


def test_times_that_cannot_be() -> None:
  with pytest.raises(ValueError, match=r'evaluation.times=0 must be at least 1'):
    vdm(Exact(), optax.sgd(0.0), SHAPE, None, times=0)


@pytest.mark.parametrize(
  ('gamma_0', 'gamma_1', 'said'), [(-13.0, 5.0, 0), (-12.0, 5.0, 1), (-13.0, 4.5, 1)]
)
def test_a_sampler_beyond_the_noise_that_is_learned_is_named(
  gamma_0: float, gamma_1: float, said: int
) -> None:
  """The digits' file goes from sigma = 12, or gamma = 4.97, to 0.002, or -12.43."""
  found = warn(0.002, 12.0, 100, {'gamma_0': gamma_0, 'gamma_1': gamma_1, 'loss': 1.0})
  assert len(found) == said
  assert all('set sampler.sigma_min above' in sentence for sentence in found)
  assert warn(0.002, 12.0, 100, {'bits_per_dimension': 1.0}) == []
