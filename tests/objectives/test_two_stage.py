"""A second model of codes that are drawn from a posterior which is known."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.networks import mlp
from jaxgen.objectives.base import Joint, Objective
from jaxgen.objectives.linear.gaussian_mixture import gaussian_mixture
from jaxgen.objectives.second_stage import second_stage
from jaxgen.objectives.variational import vae
from jaxgen.objectives.variational.likelihoods import find_likelihood, observation_model
from tests.examples import draw, examples, facts, on_one_device

EXPERIMENTS = Path(__file__).parent.parent.parent / 'experiments'
SHAPE, WIDE = (2, 1, 1), 0.5  # deviation of a code around 2 x


def first() -> Objective:
  """Whose codes of x are N(2 x, WIDE^2), and whose decoder halves them."""

  def posterior(params: Any, image: jax.Array, key: jax.Array) -> Any:
    del params, key
    return lambda key: (2.0 * image.ravel() + WIDE * jax.random.normal(key, (2,)), 0.0)

  refused: Any = None  # what a second stage has no use for
  return Objective(
    *(lambda key: ({'half': jnp.float32(0.5)}, ()), refused, refused, refused),
    encode=lambda params, image, key: 2.0 * image.ravel(),
    decode=lambda params, z, key: (params['half'] * z).reshape(SHAPE),
    joint=Joint('none', refused, refused, posterior),
  )


def trained(second: Objective, images: np.ndarray) -> tuple[Objective, Any]:
  """The model after some updates on all images."""
  model = second_stage(second, first(), (2,))
  params, memory = model.init(jax.random.key(0))
  update = jax.jit(on_one_device(model))
  for i in range(10):
    keys = jax.random.split(jax.random.key(i), len(images))
    params, memory, _ = update(params, memory, images, keys, i)
  return model, params


def test_a_mixture_of_codes_finds_where_they_are() -> None:
  """Of images (1, 0) and (-1, 0.5), codes are two heaps of this deviation; none lies between."""
  images = np.tile(np.reshape([[1.0, 0.0], [-1.0, 0.5]], (2, *SHAPE)), (500, 1, 1, 1))
  model, params = trained(gaussian_mixture((2,), 2), images)
  made = np.asarray(draw(model, params, jax.random.split(jax.random.key(1), 4000))).reshape(-1, 2)
  left = made[made[:, 0] < 0.0]
  assert len(left) == pytest.approx(2000, abs=150)
  np.testing.assert_allclose(left.mean(0), [-1.0, 0.5], atol=0.03)
  np.testing.assert_allclose(left.std(0), WIDE / 2.0, rtol=0.08)


def test_samples_of_a_second_vae_have_its_noise() -> None:
  """Where the second stage says nothing but its variance, a code is noise of that variance."""
  observed = observation_model(mlp.Decoder((2,), ()), find_likelihood('gaussian'), np.log(0.25))
  second = vae.vae(mlp.Encoder(2, ()), observed, optax.sgd(0.0), (2,), 1)
  model = second_stage(second, first(), (2,))
  params, _ = model.init(jax.random.key(0))
  params['second']['decoder'] = jax.tree.map(jnp.zeros_like, params['second']['decoder'])
  params['codes'] = {'first': jnp.float32([3.0, 1.0]), 'second': jnp.float32([13.0, 5.0])}
  made = np.asarray(draw(model, params, jax.random.split(jax.random.key(1), 4000))).reshape(-1, 2)
  np.testing.assert_allclose(made.mean(0), [1.5, 0.5], atol=0.03)
  np.testing.assert_allclose(made.std(0), 0.5 * 2.0 / 2.0, rtol=0.05)  # of y, of z, and halved


def test_a_collapse_of_the_second_vae_is_seen_and_said() -> None:
  observed = observation_model(mlp.Decoder((2,), ()), find_likelihood('gaussian'), 0.0)
  second = vae.vae(mlp.Encoder(2, ()), observed, optax.sgd(0.0), (2,), 1)
  model = second_stage(second, first(), (2,))
  params, _ = model.init(jax.random.key(0))
  images = examples(np.random.default_rng(0).normal(size=(50, *SHAPE)))
  found = model.diagnose(params, images, jax.random.key(1))
  assert found['code_active_units'] == 1.0
  assert not list(model.warn(1, found))
  params['second']['encoder'] = jax.tree.map(jnp.zeros_like, params['second']['encoder'])
  found = model.diagnose(params, images, jax.random.key(1))
  assert (found['code_active_units'], found['code_collapsed']) == (0.0, 1.0)
  assert 'the posterior has collapsed' in ''.join(model.warn(1, found))


@pytest.mark.parametrize('name', ['two_stage', 'mixture_of_codes'])
def test_both_second_stages_can_be_built(name: str) -> None:
  params, _ = jax.eval_shape(built(configured(name)).init, jax.random.key(0))
  assert params['codes']['first'].shape == (8,)
  assert params['autoencoder'].keys() == {'encoder', 'decoder'}


def test_a_likelihood_of_pixels_is_refused() -> None:
  config = configured('two_stage')
  config.objective.likelihood = 'bernoulli'
  with pytest.raises(UserError, match=r"objective\.likelihood='bernoulli' is of pixels"):
    built(config)


def configured(name: str) -> ml_collections.ConfigDict:
  return configuration.execute(str(EXPERIMENTS / f'{name}.py'))


def built(config: ml_collections.ConfigDict) -> Objective:
  return objectives.find_objective(config, facts((8, 8, 1), classes=10))
