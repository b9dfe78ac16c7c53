"""Batch statistics are those of the whole batch, and samples are functions of their own key."""

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
from jaxgen.evaluation.held_out import Evaluation
from jaxgen.layers.normalisation import MOMENTUM, STATISTICS, BatchNorm
from jaxgen.networks import dcgan
from jaxgen.objectives.adversarial import players as room
from jaxgen.objectives.base import DEVICES, Example, Key, Metrics, Params, descend
from tests.examples import example, examples, facts

ROOT = Path(__file__).parent.parent.parent
SHAPE, BATCH = (8, 8, 1), 16
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(BATCH, *SHAPE)).astype(np.float32)


class Normalising(nn.Module):
  """The mean square of a normalised, weighted image."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = x * self.param('weight', nn.initializers.ones, (8, 8, 1))
    return jnp.sum(BatchNorm()(x) ** 3)


def loss(weights: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
  fresh = {'BatchNorm_0': {'BatchNorm_0': {'mean': jnp.zeros(1), 'var': jnp.ones(1)}}}
  variables = weights | {STATISTICS: fresh}
  value, new = Normalising().apply(variables, example.image, mutable=[STATISTICS])
  return value, {'new': new}


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_loss_gradient_and_statistics_are_of_the_whole_batch(devices: int) -> None:
  """Against numpy over all images at once, however many devices share them."""
  variables = Normalising().init(jax.random.key(0), jnp.zeros(SHAPE))
  weights, optimizer = {'params': variables['params']}, optax.sgd(1.0)

  def step(share: Example, keys: Key) -> Any:
    return descend(loss, optimizer, weights, optimizer.init(weights), share, keys)

  share = jax.tree.map(
    lambda a: a.reshape(BATCH // devices, devices, *a.shape[1:]).swapaxes(0, 1), examples(IMAGES)
  )
  keys = jax.random.split(jax.random.key(0), (devices, BATCH // devices))
  call = jax.pmap(step, axis_name=DEVICES, out_axes=None, devices=jax.devices()[:devices])
  moved, _, metrics = call(share, keys)
  x = IMAGES.astype(np.float64)
  normal = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
  np.testing.assert_allclose(metrics['loss'], (normal**3).sum((1, 2, 3)).mean(), rtol=1e-3)
  new = metrics['new'][STATISTICS]['BatchNorm_0']['BatchNorm_0']
  np.testing.assert_allclose(new['mean'], (1 - MOMENTUM) * x.mean(), rtol=1e-3, atol=1e-6)
  np.testing.assert_allclose(new['var'], MOMENTUM + (1 - MOMENTUM) * x.var(), rtol=1e-5)
  slope = weights['params']['weight'] - moved['params']['weight']
  for pixel in ((0, 0, 0), (3, 5, 0)):  # by differences, through the batch's moments
    values = []
    for step_size in (1e-4, -1e-4):
      y = x.copy()
      y[:, *pixel] *= 1 + step_size
      y = (y - y.mean()) / np.sqrt(y.var() + 1e-5)
      values.append((y**3).sum((1, 2, 3)).mean())
    np.testing.assert_allclose(slope[pixel], (values[0] - values[1]) / 2e-4, rtol=2e-2, atol=2e-3)


def dcgan_config() -> Any:
  config = configuration.execute(str(ROOT / 'experiments' / 'dcgan.py'))
  config.network.hidden, config.objective.latent = (4, 8), 3
  return config


@pytest.mark.slow
def test_standing_statistics_are_the_moments_under_the_weights_as_they_are() -> None:
  """Of the first layer, which sees the projected latents: by numpy over the latents themselves."""
  found = room.players_of(dcgan_config(), facts(SHAPE))
  assert found.keep_statistics == {'generator': True, 'critic': True}
  params, key = found.init(jax.random.key(0)), jax.random.key(1)
  stale = jax.tree.map(lambda moment: moment + 7.0, params['generator'][STATISTICS])
  settled = found.settle(params | {'generator': params['generator'] | {STATISTICS: stale}}, key)
  z = jax.random.normal(jax.random.split(key)[0], (room.STANDING, 3))
  dense = params['generator']['params']['Dense_0']
  x = np.asarray(z @ dense['kernel'] + dense['bias'][None], np.float64).reshape(-1, 8)
  moments = settled['generator'][STATISTICS]['BatchNorm_0']['BatchNorm_0']
  np.testing.assert_allclose(moments['mean'], x.mean(0), rtol=1e-3, atol=1e-5)
  np.testing.assert_allclose(moments['var'], x.var(0), rtol=1e-3)
  np.testing.assert_array_equal(
    *map(jax.tree.leaves, (settled['critic'][STATISTICS], params['critic'][STATISTICS]))
  )


def test_samples_and_numbers_are_of_settled_parameters() -> None:
  """An average of statistics, or those of other weights, is never what samples are drawn with."""
  config = dcgan_config()
  model = objectives.find_objective(config, facts(SHAPE))
  evaluation = Evaluation(model, config, ())
  params, _ = model.init(jax.random.key(0))
  stale = jax.tree.map(lambda moment: moment + 7.0, params['generator'][STATISTICS])
  other = params | {'generator': params['generator'] | {STATISTICS: stale}}
  one, two = (np.concatenate(list(evaluation.samples(p, 5))) for p in (params, other))
  np.testing.assert_array_equal(one, two)
  raw = jax.jit(model.sample)(other, jnp.int32(-1), jax.random.key(0))
  settled = jax.jit(model.sample)(evaluation.settle(other), jnp.int32(-1), jax.random.key(0))
  assert np.abs(raw - settled).max() > 1e-3


def test_critic_leaves_its_first_layer_as_it_is() -> None:
  variables = dcgan.Encoder(1, (4, 8, 8)).init(jax.random.key(0), jnp.zeros(SHAPE))
  assert len(variables[STATISTICS]) == 2
  assert dcgan.Encoder(1, (4,)).init(jax.random.key(0), jnp.zeros(SHAPE)).keys() == {'params'}
  kernels = [leaf for leaf in jax.tree.leaves(variables['params']) if leaf.ndim > 1]
  assert np.concatenate([np.ravel(k) for k in kernels]).std() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize('constraint', ['clip', 'penalty'])
def test_a_slope_of_a_critic_that_sees_the_batch_is_refused(constraint: str) -> None:
  config = configuration.execute(str(ROOT / 'experiments' / 'wgan.py'))
  config.objective.constraint = constraint
  config.network.name, config.network.hidden = 'dcgan', (4, 8)
  with pytest.raises(UserError, match=r"network\.name='dcgan' normalises over the batch"):
    objectives.find_objective(config, facts(SHAPE))


def test_evaluation_is_of_one_image_alone() -> None:
  """With the critic's running statistics, no axis need be mapped."""
  model = objectives.find_objective(dcgan_config(), facts(SHAPE))
  params, _ = model.init(jax.random.key(0))
  metrics = model.evaluate(params, example(IMAGES[0]), jax.random.key(1))
  assert {'d_real', 'd_fake', 'value_above_equilibrium_nats'} <= metrics.keys()
  assert all(np.isfinite(value) for value in metrics.values())
