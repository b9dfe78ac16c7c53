"""Flow matching against the flow between Gaussians, which is known."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.objectives.diffusion.flow_matching import flow_matching, interpolate, velocity
from tests.examples import NONE, draw, example, examples, on_one_device

MEAN, DEVIATION = 0.4, 0.3
SHAPE = (2, 2, 1)


def marginal_velocity(x: Any, t: Any) -> Any:
  """E[x_1 - x_0 | x_t = x] for data N(MEAN, DEVIATION^2), by conditioning of Gaussians."""
  variance = (1 - t) ** 2 + t**2 * DEVIATION**2
  return MEAN + (t * DEVIATION**2 - (1 - t)) / variance * (x - t * MEAN)


class Exact(nn.Module):
  """The velocity that minimises the loss for Gaussian data."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    self.param('unused', nn.initializers.zeros, ())
    return marginal_velocity(x, t / 1000.0)


def drawn(steps: int, count: int) -> np.ndarray:
  """Samples of the exact flow, (count, H, W, C)."""
  model = flow_matching(Exact(), optax.sgd(0.1), SHAPE, steps=steps)
  params, _ = model.init(jax.random.key(0))
  keys = jax.random.split(jax.random.key(1), count)
  return np.asarray(draw(model, params, keys))


def test_path_starts_at_noise_ends_at_data_and_moves_at_the_velocity() -> None:
  x_0, x_1 = jnp.full(SHAPE, -2.0), jnp.full(SHAPE, 3.0)
  np.testing.assert_allclose(interpolate(x_0, x_1, 0.0), x_0)
  np.testing.assert_allclose(interpolate(x_0, x_1, 1.0), x_1)
  _, slope = jax.jvp(lambda t: interpolate(x_0, x_1, t), (0.3,), (1.0,))
  np.testing.assert_allclose(slope, velocity(x_0, x_1))


def test_marginal_velocity_is_the_regression_of_the_conditional_one() -> None:
  generator = np.random.default_rng(0)
  x_0, x_1 = generator.normal(size=10**6), generator.normal(MEAN, DEVIATION, 10**6)
  t = 0.6
  x_t = (1 - t) * x_0 + t * x_1
  slope, intercept = np.polyfit(x_t, x_1 - x_0, 1)
  np.testing.assert_allclose(intercept, marginal_velocity(0.0, t), atol=5e-3)
  np.testing.assert_allclose(
    slope, marginal_velocity(1.0, t) - marginal_velocity(0.0, t), atol=5e-3
  )


def test_exact_flow_recovers_the_moments_of_the_data() -> None:
  samples = drawn(50, 20_000)
  assert samples.mean() == pytest.approx(MEAN, abs=5e-3)
  assert samples.std() == pytest.approx(DEVIATION, rel=0.01)


def test_heun_converges_at_second_order() -> None:
  reference = drawn(640, 100)
  errors = [np.abs(drawn(steps, 100) - reference).max() for steps in (20, 40)]
  assert 3.0 < errors[0] / errors[1] < 5.5


class Telling(nn.Module):
  """The velocity to images of 0, but for an error whose square tells the time, scaled to 1000."""

  error: Callable[[jax.Array], jax.Array]

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    t = t / 1000.0
    return self.param('one', nn.initializers.ones, ()) * -x / (1.0 - t) + self.error(t)


def test_evaluation_looks_into_every_stratum_of_time_once() -> None:
  """An error of 2^k in stratum k of 8 makes a mean of (1 + 4 + ... + 4^7) / 8, whatever the key."""
  network = Telling(lambda t: 2.0 ** jnp.floor(8 * t))
  model = flow_matching(network, optax.sgd(0.0), SHAPE, times=8)
  params, _ = model.init(jax.random.key(0))
  evaluate = jax.jit(jax.vmap(model.evaluate, in_axes=(None, None, 0)))
  metrics = evaluate(params, example(jnp.zeros(SHAPE)), jax.random.split(jax.random.key(1), 200))
  np.testing.assert_allclose(metrics['velocity_squared_error'], (4**8 - 1) / 3 / 8, rtol=1e-4)


def test_times_of_evaluation_and_training_are_uniform() -> None:
  """An error of t makes a loss of t^2."""
  model = flow_matching(Telling(lambda t: t), optax.sgd(0.0), SHAPE, times=1)
  params, opt_state = model.init(jax.random.key(0))
  step = on_one_device(model)
  image, keys = jnp.zeros(SHAPE), jax.random.split(jax.random.key(1), 2000)
  squares = {
    'evaluation': lambda key: model.evaluate(params, example(image), key)['velocity_squared_error'],
    'training': lambda key: step(params, opt_state, image[None], key[None])[2]['loss'],
  }
  for use, square in squares.items():
    times = np.sqrt(np.asarray(jax.jit(jax.vmap(square))(keys)))
    assert stats.kstest(times, 'uniform').pvalue > 0.01, use


def test_exact_velocity_beats_any_shift_of_it_in_the_loss() -> None:
  class Shifted(Exact):
    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
      return super().__call__(x, t) + 0.3

  def mean_loss(network: nn.Module) -> float:
    model = flow_matching(network, optax.sgd(0.1), SHAPE)
    params, _ = model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(2), 4000)
    images = MEAN + DEVIATION * jax.random.normal(jax.random.key(3), (4000, *SHAPE))
    metrics = jax.vmap(model.evaluate, in_axes=(None, 0, 0))(params, examples(images), keys)
    return float(metrics['velocity_squared_error'].mean())

  assert mean_loss(Shifted()) - mean_loss(Exact()) == pytest.approx(0.09, abs=0.01)


@pytest.mark.parametrize('steps', [3, 40])
def test_flow_shows_a_sample_on_its_way(steps: int) -> None:
  """From near the noise to the sample; steps of Heun's method by hand, at times from 0 to 1."""
  model = flow_matching(Exact(), optax.sgd(0.1), SHAPE, steps=steps)
  params, _ = model.init(jax.random.key(0))
  key = jax.random.key(3)
  pictures = model.figures['flow'](params, examples(jnp.zeros((2, *SHAPE))), key)
  assert pictures.shape == (2, min(steps, 10), *SHAPE)
  for row, row_key in zip(pictures, jax.random.split(key, 2), strict=True):
    x, h = np.asarray(jax.random.normal(row_key, SHAPE), np.float64), 1 / steps
    shown = []
    for i in range(steps):
      slope = marginal_velocity(x, i * h)
      x = x + h / 2 * (slope + marginal_velocity(x + h * slope, (i + 1) * h))
      shown.append(x)
    each = steps / len(row)
    expected = [shown[int(np.ceil((k + 1) * each)) - 1] for k in range(len(row))]
    np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(row[-1], model.sample(params, NONE, row_key), atol=1e-5)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('steps', 0, 'sampler.steps=0'),
    ('times', 0, 'evaluation.times=0'),
    ('sampler', 'euler', "sampler.name='euler'; choose heun"),
  ],
)
def test_hyperparameters_that_cannot_be(field: str, value: Any, message: str) -> None:
  with pytest.raises(ValueError, match=message):
    flow_matching(Exact(), optax.sgd(0.1), SHAPE, **{field: value})
