"""A posterior of its own for every image: what is remembered, and where it goes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.devices import parallel
from jaxgen.networks import mlp
from jaxgen.objectives.base import Example, Objective
from jaxgen.objectives.tables import put
from jaxgen.objectives.variational.likelihoods import find_likelihood, observation_model
from jaxgen.objectives.variational.non_amortized import non_amortized
from tests.examples import dealt, draw, example, on_one_device

SHAPE, LATENT, IMAGES = (3, 1, 1), 2, 12
NOISE = 0.7  # standard deviation of x given z
W = np.array([[1.0, 0.5], [1.0, -0.5], [-0.5, 0.0]])  # orthogonal: the posterior factorises
B = np.array([0.1, -0.2, 0.3])
X = np.random.default_rng(0).normal(size=(IMAGES, 3))
PRECISION = 1.0 + (W**2).sum(0) / NOISE**2
MEANS = (X - B) @ (W / NOISE**2 / PRECISION)  # of the exact posterior, whose variance is 1 / PREC


def model(rate: float = 0.1, decay: float = 0.0, **fields: Any) -> Objective:
  """Of x = W z + B + noise, whose decoder stays as it is."""
  return non_amortized(
    observation_model(mlp.Decoder(SHAPE, ()), find_likelihood('gaussian'), 2 * np.log(NOISE)),
    optax.sgd(decay),
    optax.adam(rate),
    IMAGES,
    LATENT,
    **fields,
  )


DECODER = {
  'decoder': {
    'params': {'Dense_0': {'kernel': jnp.asarray(W.T, jnp.float32), 'bias': jnp.float32(B)}}
  }
}


def batch(rows: Any) -> Example:
  rows = jnp.asarray(rows, jnp.int32)
  images = jnp.asarray(X[np.asarray(rows)], jnp.float32).reshape(-1, *SHAPE)
  return Example(images, jnp.full(rows.shape, -1), rows)


def test_posteriors_of_training_images_become_the_exact_ones() -> None:
  """Those of images that were never in a batch stay at the prior."""
  objective = model(rate=0.02, inference_steps=10)
  _, memory = objective.init(jax.random.key(0))
  step, seen = jax.jit(on_one_device(objective)), np.arange(8)
  table = []
  for i in range(150):
    _, memory, metrics = step(DECODER, memory, batch(seen), jax.random.split(jax.random.key(i), 8))
    table.append(memory['posteriors'][0])
  late = jax.tree.map(lambda *a: np.stack(a).mean(0), *table[50:])  # its noise averaged out
  np.testing.assert_allclose(late['mean'][:8], MEANS[:8], atol=0.05)
  expected = np.tile(-np.log(PRECISION), (8, 1))
  np.testing.assert_allclose(late['log_variance'][:8], expected, atol=0.1)
  np.testing.assert_array_equal(late['mean'][8:], 0.0)
  np.testing.assert_array_equal(late['log_variance'][8:], 0.0)
  assert np.isfinite(list(metrics.values())).all()


@pytest.mark.slow
def test_decoder_learns_from_posteriors_after_their_steps() -> None:
  """With a variance near zero the gradient of its bias is (B + W mean - x) / noise^2."""
  objective = model(rate=0.3, decay=1.0, inference_steps=2)
  _, memory = objective.init(jax.random.key(0))
  tight = jnp.full((IMAGES, LATENT), -20.0)
  posteriors, states = memory['posteriors']
  memory['posteriors'] = posteriors | {'log_variance': tight}, states
  keys = jax.random.split(jax.random.key(1), 4)
  params, memory, _ = on_one_device(objective)(DECODER, memory, batch(range(4)), keys)
  means = np.asarray(memory['posteriors'][0]['mean'][:4])
  assert np.abs(means).min() > 0.05
  gradient = ((B + means @ W.T - X[:4]) / NOISE**2).mean(0)
  moved = params['decoder']['params']['Dense_0']['bias'] - np.float32(B)
  np.testing.assert_allclose(moved, -gradient, rtol=2e-2, atol=2e-3)


def test_held_out_images_are_inferred_anew() -> None:
  """The bound of the exact posterior is log p(x), which the table has no part in."""
  objective = model(rate=0.01, held_out_steps=800, importance_samples=500)
  log_p = stats.multivariate_normal(B, W @ W.T + NOISE**2 * np.eye(3)).logpdf(X)
  for i in range(3):
    found = objective.evaluate(DECODER, example(X[i].reshape(SHAPE)), jax.random.key(i))
    assert found['elbo_gaussian_density_nats'] == pytest.approx(log_p[i], abs=0.15)
    assert found['importance_weighted_500_gaussian_density_nats'] == pytest.approx(
      log_p[i], abs=0.1
    )
    code = objective.encode(DECODER, jnp.float32(X[i]).reshape(SHAPE), jax.random.key(i))
    np.testing.assert_allclose(code, MEANS[i], atol=0.3)


def test_samples_decode_codes_of_the_prior() -> None:
  """Their mean is B and their covariance W W^T, of the decoder's means alone."""
  drawn = draw(model(), DECODER, jax.random.split(jax.random.key(0), 20_000)).reshape(-1, 3)
  np.testing.assert_allclose(drawn.mean(0), B, atol=0.03)
  np.testing.assert_allclose(np.cov(drawn.T), W @ W.T, atol=0.05)


def test_of_a_row_that_comes_twice_the_first_counts() -> None:
  table = {'a': jnp.zeros(4), 'b': jnp.zeros((4, 2))}
  values = {'a': jnp.array([1.0, 2.0, 3.0]), 'b': jnp.arange(6.0).reshape(3, 2)}
  found = put(table, jnp.array([2, 0, 2]), values)
  np.testing.assert_array_equal(found['a'], [2.0, 0.0, 1.0, 0.0])
  np.testing.assert_array_equal(found['b'], [[2, 3], [0, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize('devices', [2, 4])
def test_every_device_holds_the_whole_table(devices: int) -> None:
  """An image's posterior is the same on whatever device its turn came."""
  pixels = np.random.default_rng(1).integers(0, 256, (1, IMAGES, *SHAPE), np.uint8)
  step = parallel.train_steps(model(), 0, 0.9)
  tables = []
  for count in (1, devices):
    state, _ = step(parallel.initial_state(model(), 0), dealt(pixels, count))
    tables.append(state.memory['posteriors'][0])
  for one, many in zip(*map(jax.tree.leaves, tables), strict=True):
    np.testing.assert_allclose(one, many, atol=1e-5)
  assert (np.abs(tables[0]['mean']).min(axis=1) > 0).all()


@pytest.mark.parametrize('field', ['inference_steps', 'held_out_steps'])
def test_no_steps_are_refused(field: str) -> None:
  with pytest.raises(ValueError, match='inference_steps=0'):
    model(**{field: 0})
