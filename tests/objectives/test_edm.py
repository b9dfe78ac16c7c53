"""EDM with networks whose denoiser, loss and samples are known."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.devices import parallel
from jaxgen.errors import offered
from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion import samplers
from jaxgen.objectives.diffusion.edm import c_in, c_noise, edm, noise_level
from jaxgen.objectives.diffusion.grids import GRIDS
from jaxgen.objectives.diffusion.trajectory import FRAMES
from tests.examples import dealt, draw, example, examples, on_one_device

SHAPE = (2, 2, 1)
MEAN, DEVIATION = -0.4, 0.6


class Zero(nn.Module):
  """Nothing, as an untrained U-Net says: the exact denoiser of N(mean, sigma_data^2)."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return self.param('zero', nn.initializers.zeros, ()) * x


class Telling(nn.Module):
  """Its target for images of MEAN, but for an error that is the time it is told."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    # There x_0 = mean, and the target is -c_skip sigma eps / c_out.
    sigma = jnp.exp(4.0 * t / 1000.0)
    one = self.param('one', nn.initializers.ones, ())
    return -one * x * DEVIATION / sigma + t / 1000.0


def model(network: nn.Module, name: str = 'dpm_solver_2m', **fields: Any) -> Objective:
  sampler = {'steps': 40, 'sigma_max': 80.0} | {
    field: fields.pop(field) for field in ('steps', 'churn') if field in fields
  }
  descent = samplers.find(paths.edm(), name, **sampler)
  fields = {'sigma_data': DEVIATION, 'mean': MEAN} | fields
  return edm(network, optax.sgd(0.1), SHAPE, descent, **fields)


def drawn(objective: Objective, count: int) -> np.ndarray:
  params, _ = objective.init(jax.random.key(0))
  return np.asarray(draw(objective, params, jax.random.split(jax.random.key(1), count)))


def settled(steps: int) -> float:
  """Langevin's deviation over sigma_data: its steps of finite size are biased, as is known."""
  times = GRIDS['karras'](paths.edm(), steps, 0.01, 80.0)
  variance = 80.0**2
  for s in times[1:]:
    kept = 1.0 - 0.1 * s**2 / (s**2 + DEVIATION**2)
    for _ in range(5):
      variance = kept**2 * variance + 2.0 * 0.1 * s**2
  return np.sqrt(variance) * DEVIATION / (times[-1] ** 2 + DEVIATION**2)


@pytest.mark.parametrize('name', sorted(offered(samplers.__name__, 'sampler')))
def test_zero_network_samples_the_gaussian_it_stands_for(name: str) -> None:
  """N(mean, sigma_data^2), through every sampler, to what so many of its steps lose."""
  steps = 400 if name in ('ancestral', 'ddim', 'euler_maruyama') else 80
  x = drawn(model(Zero(), name, steps=steps), 2000).ravel()
  x = (x - MEAN) / DEVIATION
  assert x.mean() == pytest.approx(0.0, abs=0.05)
  assert x.std() == pytest.approx(settled(steps) if name == 'langevin' else 1.0, abs=0.03)
  assert stats.kurtosis(x) == pytest.approx(0.0, abs=0.25)


def test_loss_of_a_zero_network_is_one_on_gaussian_data() -> None:
  """At any noise, for data of that mean and deviation (Karras et al. 2022, app. B.6)."""
  images = MEAN + DEVIATION * jax.random.normal(jax.random.key(0), (20_000, *SHAPE))
  keys = jax.random.split(jax.random.key(1), len(images))
  for P_mean in (-2.0, 2.0):
    objective = model(Zero(), P_mean=P_mean, P_std=0.1, times=1)
    params, memory = objective.init(jax.random.key(0))
    metrics = on_one_device(objective)(params, memory, images, keys)[2]
    assert metrics['loss'] == pytest.approx(1.0, abs=0.02)
    held_out = jax.vmap(objective.evaluate, in_axes=(None, 0, 0))(params, examples(images), keys)
    assert held_out['weighted_squared_error'].mean() == pytest.approx(1.0, abs=0.02)


def test_noise_levels_of_evaluation_and_training_are_log_normal() -> None:
  """A network whose error is ln(sigma) / 4 has its square as its loss."""
  objective = model(Telling(), P_mean=8.0, P_std=0.8, stratified=False, times=1)
  params, memory = objective.init(jax.random.key(0))
  image, keys = jnp.full(SHAPE, MEAN), jax.random.split(jax.random.key(1), 2000)
  step = on_one_device(objective)
  squares = {
    'evaluation': lambda key: objective.evaluate(params, example(image), key)[
      'weighted_squared_error'
    ],
    'training': lambda key: step(params, memory, image[None], key[None])[2]['loss'],
  }
  for use, square in squares.items():
    logs = 4.0 * np.sqrt(np.asarray(jax.jit(jax.vmap(square))(keys)))
    assert stats.kstest(logs, stats.norm(8.0, 0.8).cdf).pvalue > 0.01, use


def test_a_stratified_batch_has_a_level_in_every_stratum() -> None:
  """The batch's mean of (ln sigma / 4)^2 is the law's to within strata, on 1 and 4 devices."""
  batch = 40
  objective = model(Telling(), P_mean=0.0, P_std=1.2)
  pixels = np.full((1, batch, *SHAPE), round((MEAN + 1) * 127.5), np.uint8)
  losses = {}
  for devices in (1, 4):
    step = parallel.train_steps(objective, 0, 0.0)
    state = parallel.initial_state(objective, 0)
    _, metrics = step(state, dealt(pixels, devices))
    losses[devices] = float(metrics['loss'][0])
  np.testing.assert_allclose(losses[1], losses[4], rtol=1e-5)
  levels = stats.norm.ppf((np.arange(batch) + 0.5) / batch) * 1.2 / 4
  # One draw without strata is off by more than this half of the time.
  assert losses[1] == pytest.approx(np.mean(levels**2), rel=0.15)


def test_preconditioning_by_hand() -> None:
  """At sigma = sigma_data the input is halved in variance; the median level is exp(P_mean)."""
  assert c_in(jnp.float32(0.5), 0.5) == pytest.approx(2**0.5)
  assert c_noise(jnp.float32(np.e**2)) == pytest.approx(0.5)
  assert noise_level(jnp.float32(0.5), -1.2, 1.2) == pytest.approx(np.exp(-1.2))
  assert noise_level(jnp.float32(0.8413447), 0.0, 1.2) == pytest.approx(np.exp(1.2), rel=1e-4)


def test_clipping_bounds_samples() -> None:
  """A sample ends with a predicted image."""
  wide = drawn(model(Zero(), sigma_data=3.0), 50)
  assert np.abs(wide).max() > 2.0
  assert np.abs(drawn(model(Zero(), sigma_data=3.0, clip=True), 50)).max() == 1.0


@pytest.mark.parametrize('steps', [3, 40])
def test_denoising_shows_a_sample_on_its_way(steps: int) -> None:
  objective = model(Zero(), steps=steps)
  params, _ = objective.init(jax.random.key(0))
  key = jax.random.key(3)
  pictures = objective.figures['denoising'](params, examples(jnp.zeros((3, *SHAPE))), key)
  assert pictures.shape == (3, min(steps, FRAMES), *SHAPE)
  np.testing.assert_allclose(
    pictures[:, -1], draw(objective, params, jax.random.split(key, 3)), atol=1e-5
  )
  spread = np.std(pictures, axis=(0, 2, 3, 4))
  assert (np.diff(spread) < 0).all()


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'sigma_data': 0.0}, 'objective.sigma_data=0.0 and objective.P_std=1.2 must be positive'),
    ({'P_std': -1.0}, 'objective.P_std=-1.0 must be positive'),
    ({'times': 0}, 'evaluation.times=0 must be at least 1'),
  ],
)
def test_hyperparameters_that_cannot_be(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    model(Zero(), **fields)
