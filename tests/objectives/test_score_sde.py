"""Score models of three equations, with the score of Gaussian data, which is known."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import samplers
from jaxgen.objectives.diffusion.score_sde import EQUATIONS, find_path, score_sde
from tests.examples import draw, example, examples, on_one_device

SHAPE = (2, 2, 1)
DEVIATION = 0.6  # of Gaussian data around 0, so that the priors N(0, s^2) are nearly right


class Exact(nn.Module):
  """E[eps | x_t] of data N(0, DEVIATION^2): s x_t / (a^2 DEVIATION^2 + s^2)."""

  sde: str
  shift: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    path, t = find_path(self.sde), t / 999.0
    a, s = path.a(t), path.s(t)
    x_t = x * jnp.sqrt(a**2 + s**2)
    one = self.param('one', nn.initializers.ones, ())
    return one * s * x_t / (a**2 * DEVIATION**2 + s**2) + self.shift


class Telling(nn.Module):
  """The noise in x_t of images of 0, but for an error that is the time it is told."""

  sde: str

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    path, t = find_path(self.sde), t / 999.0
    one = self.param('one', nn.initializers.ones, ())
    return one * x * jnp.sqrt(path.a(t) ** 2 + path.s(t) ** 2) / path.s(t) + t


def model(network: nn.Module, name: str = 'ddim', steps: int = 100, **fields: Any) -> Objective:
  path = find_path(network.sde)
  descent = samplers.find(path, name, steps, 'log_snr', sigma_min=0.02)
  return score_sde(network, optax.sgd(0.1), SHAPE, path, descent, **{'clip': False} | fields)


def drawn(objective: Objective, count: int) -> np.ndarray:
  params, _ = objective.init(jax.random.key(0))
  return np.asarray(draw(objective, params, jax.random.split(jax.random.key(1), count)))


@pytest.mark.parametrize('sde', EQUATIONS)
@pytest.mark.parametrize(('name', 'steps'), [('euler_maruyama', 400), ('dpm_solver_2m', 60)])
def test_exact_score_samples_the_data(sde: str, name: str, steps: int) -> None:
  x = drawn(model(Exact(sde), name, steps), 2000)
  assert x.mean() == pytest.approx(0.0, abs=0.04)
  assert x.std() == pytest.approx(DEVIATION, rel=0.03)


@pytest.mark.parametrize('sde', EQUATIONS)
def test_loss_of_the_exact_score_is_the_variance_that_is_left(sde: str) -> None:
  """s^2 E|score - grad log p(x_t | x_0)|^2 = a^2 c^2 / (a^2 c^2 + s^2), averaged over t."""
  path = find_path(sde)
  t = path.first + (np.arange(10_000) + 0.5) / 10_000 * (path.last - path.first)
  signal, noise = (path.a(t) * DEVIATION) ** 2, path.s(t) ** 2
  expected = np.mean(signal / (signal + noise))
  images = DEVIATION * jax.random.normal(jax.random.key(0), (20_000, *SHAPE))
  keys = jax.random.split(jax.random.key(1), len(images))
  for shift in (0.0, 0.3):  # an error in the predicted noise adds its square
    objective = model(Exact(sde, shift), times=2)
    params, memory = objective.init(jax.random.key(0))
    metrics = on_one_device(objective)(params, memory, images, keys)[2]
    assert metrics['loss'] == pytest.approx(expected + shift**2, abs=0.02)
    held_out = jax.vmap(objective.evaluate, in_axes=(None, 0, 0))(params, examples(images), keys)
    assert held_out['noise_squared_error'].mean() == pytest.approx(expected + shift**2, abs=0.02)


@pytest.mark.parametrize('sde', ['vp', 've'])
def test_times_of_evaluation_and_training_are_uniform(sde: str) -> None:
  objective = model(Telling(sde), times=1)
  params, memory = objective.init(jax.random.key(0))
  image, keys = jnp.zeros(SHAPE), jax.random.split(jax.random.key(1), 2000)
  step = on_one_device(objective)
  squares = {
    'evaluation': lambda key: objective.evaluate(params, example(image), key)[
      'noise_squared_error'
    ],
    'training': lambda key: step(params, memory, image[None], key[None])[2]['loss'],
  }
  for use, square in squares.items():
    times = np.sqrt(np.asarray(jax.jit(jax.vmap(square))(keys)))
    assert stats.kstest(times, 'uniform').pvalue > 0.01, use


def test_networks_see_unit_scale_at_any_noise() -> None:
  """The scale of what the network is given, for pixels of one: told by one that repeats it."""

  class Repeating(nn.Module):
    sde: str

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
      return self.param('one', nn.initializers.ones, ()) * x

  images = jnp.ones((20_000, *SHAPE)) * jax.random.rademacher(
    jax.random.key(0), (20_000, 1, 1, 1), jnp.float32
  )
  keys = jax.random.split(jax.random.key(1), len(images))
  for sde in EQUATIONS:
    objective = model(Repeating(sde), times=1)
    params, memory = objective.init(jax.random.key(0))
    loss = on_one_device(objective)(params, memory, images, keys)[2]['loss']
    path = find_path(sde)
    t = path.first + (np.arange(10_000) + 0.5) / 10_000 * (path.last - path.first)
    share = path.s(t) / np.hypot(path.a(t), path.s(t))  # of eps in what it sees
    assert loss == pytest.approx(np.mean(2.0 - 2.0 * share), abs=0.02)


def test_clipping_bounds_samples() -> None:
  x = drawn(model(Exact('vp', shift=-2.0), clip=True), 20)
  assert np.abs(x).max() == 1.0


@pytest.mark.parametrize(
  ('fields', 'message'),
  [({'times': 0}, 'evaluation.times=0 must be at least 1')],
)
def test_hyperparameters_that_cannot_be(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    model(Exact('vp'), **fields)


def test_an_unknown_equation() -> None:
  with pytest.raises(ValueError, match=r"objective.sde='vpx'; choose one of vp, subvp, ve"):
    find_path('vpx')
