"""A joint energy model of two Gaussian classes, whose logits and posterior are known."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

from jaxgen.objectives.base import Objective
from jaxgen.objectives.energy.jem import joint
from jaxgen.objectives.energy.langevin import Langevin
from jaxgen.objectives.energy.persistent import persistent
from tests.examples import NONE, example, examples, on_one_device

SHAPE = (2, 1, 1)
CENTRES = np.array([[0.6, 0.0], [-0.6, 0.3], [0.0, -0.8]])
DEVIATIONS, PRIOR = np.array([0.3, 0.4, 0.5]), np.array([0.5, 0.3, 0.2])
X = np.random.default_rng(0).uniform(-1.0, 1.0, (50, *SHAPE))
T = 0.7
PARAMS = {'params': {'shift': jnp.zeros(3)}}
LOG_JOINT = np.stack(
  [
    np.log(prior) + stats.multivariate_normal(centre, deviation**2 * np.eye(2)).logpdf(X[..., 0, 0])
    for centre, deviation, prior in zip(CENTRES, DEVIATIONS, PRIOR, strict=True)
  ],
  axis=1,
)


class Gaussians(nn.Module):
  """f(x)[y] = T log p(x, y), but for a constant."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shift = self.param('shift', nn.initializers.zeros, (3,))
    squares = jnp.sum((x.ravel()[None] - jnp.asarray(CENTRES, jnp.float32)) ** 2, axis=1)
    deviations = jnp.asarray(DEVIATIONS, jnp.float32)
    log_joint = jnp.log(jnp.asarray(PRIOR, jnp.float32)) - 2.0 * jnp.log(deviations)
    return T * (log_joint - squares / (2.0 * deviations**2)) + shift


def model(**fields: Any) -> Objective:
  fields = {'training': Langevin(2, 0.01, T), 'sampling': Langevin(400, 0.01, T)} | fields
  return persistent(Gaussians(), joint(T), optax.sgd(1.0), SHAPE, **fields)


def test_logits_give_the_posterior_of_the_class() -> None:
  objective = model()
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, None)))
  for label in range(3):
    found = evaluate(PARAMS, examples(X, label), jax.random.key(1))
    posterior = special.log_softmax(LOG_JOINT, axis=1)
    np.testing.assert_allclose(found['cross_entropy_nats'], -posterior[:, label], atol=1e-4)
    np.testing.assert_array_equal(found['accuracy'], posterior.argmax(axis=1) == label)


def test_energy_of_an_image_is_that_of_the_mixture() -> None:
  """-T log p(x), but for a constant."""
  objective = model()
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, None)))
  found = np.asarray(evaluate(PARAMS, examples(X, 0), jax.random.key(1))['energy_of_images'])
  expected = -T * special.logsumexp(LOG_JOINT, axis=1)
  np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-4)


def test_samples_are_of_their_class_or_of_all() -> None:
  objective = model()
  sample = jax.jit(jax.vmap(objective.sample, in_axes=(None, None, 0)))
  keys = jax.random.split(jax.random.key(2), 2000)
  for label in range(3):
    drawn = np.asarray(sample(PARAMS, jnp.int32(label), keys))[..., 0, 0]
    np.testing.assert_allclose(drawn.mean(axis=0), CENTRES[label], atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), DEVIATIONS[label], rtol=0.06)
  drawn = np.asarray(sample(PARAMS, NONE, keys))[..., 0, 0]
  np.testing.assert_allclose(drawn.mean(axis=0), PRIOR @ CENTRES, atol=0.1)


def test_cross_entropy_is_learned_beside_the_energy() -> None:
  """With chains where the images are, and no noise, only its gradient in the shift is left."""
  still = Langevin(1, 1e-9, 1e-9)
  objective = persistent(
    Gaussians(), joint(T), optax.sgd(1.0), SHAPE, still, still, buffer=1, restart=0.0
  )
  params, memory = jax.jit(objective.init)(jax.random.key(0))
  x = np.asarray(memory['chains'])
  params, _, metrics = jax.jit(on_one_device(objective))(
    params, memory, examples(x, 1), jax.random.split(jax.random.key(1), 1)
  )
  squares = ((x.ravel() - CENTRES) ** 2).sum(axis=1)
  posterior = special.softmax(
    np.log(PRIOR) - 2.0 * np.log(DEVIATIONS) - squares / 2.0 / DEVIATIONS**2
  )
  expected = np.eye(3)[1] - posterior  # of T log p(y | x)
  np.testing.assert_allclose(params['params']['shift'], expected, atol=1e-3)
  assert metrics['cross_entropy_nats'] == pytest.approx(-np.log(posterior[1]), abs=1e-4)


def test_evaluation_says_nothing_of_likelihood() -> None:
  objective = model()
  found = jax.eval_shape(objective.evaluate, PARAMS, example(X[0], 1), jax.random.key(1))
  assert set(found) == {
    *('cross_entropy_nats', 'accuracy'),
    *('energy_of_images', 'energy_of_uniform_noise'),
  }
