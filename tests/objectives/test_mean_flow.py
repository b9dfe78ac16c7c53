"""MeanFlow on Gaussian data, whose average velocities are known."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion.mean_flow import adaptive_weight, mean_flow
from tests.examples import draw, examples, facts, on_one_device

EXPERIMENTS = Path(__file__).parent.parent.parent / 'experiments'
SHAPE = (2, 2, 1)
C = 0.6  # the deviation of the data around 0


def deviation(t: Any) -> Any:
  """Of z_t."""
  return jnp.sqrt((1.0 - t) ** 2 * C**2 + t**2)


class Exact(nn.Module):
  """u = z (1 - k_r / k_t) / (t - r), and its limit d log k / dt where both are one; or off by this.

  For r near t the limit's own slope keeps the derivative by t right.
  """

  error: float = 0.0

  @nn.compact
  def __call__(self, z: jax.Array, t: jax.Array, interval: jax.Array) -> jax.Array:
    h = interval
    one = self.param('one', nn.initializers.ones, ())
    rate = (t - (1.0 - t) * C**2) / deviation(t) ** 2
    apart = jnp.where(h > 1e-3, h, 1.0)
    average = (1.0 - deviation(t - apart) / deviation(t)) / apart
    return one * jnp.where(h > 1e-3, average, rate) * z + self.error


def model(error: float = 0.0, **fields: Any) -> Objective:
  return mean_flow(Exact(error), optax.sgd(0.1), SHAPE, **fields)


@pytest.mark.parametrize('steps', [1, 3])
def test_the_exact_average_velocity_samples_the_data_in_any_number_of_steps(steps: int) -> None:
  objective = model(steps=steps)
  params, _ = objective.init(jax.random.key(0))
  x = draw(objective, params, jax.random.split(jax.random.key(1), 4000))
  assert x.mean() == pytest.approx(0.0, abs=0.03)
  assert x.std() == pytest.approx(C, rel=0.02)


@pytest.mark.parametrize('apart', [0.0, 1.0])
@pytest.mark.parametrize('error', [0.0, 0.5])
def test_loss_of_the_exact_average_velocity_is_the_variance_that_is_left(
  apart: float, error: float
) -> None:
  """(k_r / k_t)^2 c^2 / k_t^2: of v given z, which enters with 1 - (t - r) du/dz."""
  objective = model(error, apart=apart, power=0.0, t_mean=-0.4, t_std=1.0, r_mean=-2.0, r_std=1.5)
  t, r = np.random.default_rng(0).normal((-0.4, -2.0), (1.0, 1.5), size=(200_000, 2)).T
  t, r = 1 / (1 + np.exp(-t)), 1 / (1 + np.exp(-r))
  r = np.minimum(t, r) if apart else t
  k_t, k_r = np.asarray(deviation(t)), np.asarray(deviation(r))
  expected = np.mean((k_r / k_t) ** 2 * C**2 / k_t**2) + error**2
  images = C * jax.random.normal(jax.random.key(0), (20_000, *SHAPE))
  params, memory = objective.init(jax.random.key(0))
  keys = jax.random.split(jax.random.key(1), len(images))
  metrics = jax.jit(on_one_device(objective))(params, memory, images, keys)[2]
  assert metrics['average_velocity_squared_error'] == pytest.approx(expected, rel=0.05)
  assert metrics['loss'] == pytest.approx(expected * 4, rel=0.05)  # a sum over pixels


def test_held_out_error_is_flow_matchings() -> None:
  """c^2 / k_t^2, over uniform times."""
  objective = model()
  params, _ = objective.init(jax.random.key(0))
  images = C * jax.random.normal(jax.random.key(0), (4000, *SHAPE))
  keys = jax.random.split(jax.random.key(1), len(images))
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, 0)))
  found = evaluate(params, examples(images), keys)['velocity_squared_error'].mean()
  t = (np.arange(10_000) + 0.5) / 10_000
  assert found == pytest.approx(np.mean(C**2 / np.asarray(deviation(t)) ** 2), rel=0.03)


def test_the_adaptive_weight_bounds_the_loss_and_has_no_gradient() -> None:
  weighted = lambda e: adaptive_weight(e**2, 1.0, 0.5) * e**2  # noqa: E731
  assert weighted(100.0) == pytest.approx(1.0, rel=1e-3)
  assert jax.grad(weighted)(3.0) == pytest.approx(2 * 3.0 / 9.5)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'t_std': 0.0}, 'objective.t_std=0.0'),
    ({'r_std': -1.0}, 'objective.r_std=-1.0'),
    ({'apart': 1.5}, r'objective.apart=1.5 lie in \[0, 1\]'),
    ({'floor': 0.0}, 'objective.floor=0.0 must be positive'),
    ({'power': -1.0}, 'objective.power=-1.0 not negative'),
    ({'steps': 0}, 'sampler.steps=0'),
  ],
)
def test_hyperparameters_that_cannot_be(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    model(**fields)


@pytest.mark.parametrize('fault', ['r_mean is missing', "network.clock='fourier' is for times"])
def test_what_cannot_see_its_times_is_refused(fault: str) -> None:
  config = configuration.execute(str(EXPERIMENTS / 'mean_flow.py'))
  if fault.startswith('r_mean'):
    del config.objective.r_mean  # as in runs from before
  else:
    config.network.clock = 'fourier'
  with pytest.raises(UserError, match=fault):
    objectives.find_objective(config, facts((8, 8, 1)))
