"""Kernels of a critic under spectral normalisation, against numpy's singular values."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.networks import convolutional, mlp
from jaxgen.objectives.adversarial import spectral
from jaxgen.objectives.base import Params
from tests.examples import facts, on_one_device

ROOT = Path(__file__).parent.parent.parent
SHAPE = (8, 8, 1)
NETWORKS = {'mlp': mlp.Encoder(1, (16, 8)), 'convolutional': convolutional.Encoder(1, (4, 8))}


def critic(network: str, iterations: int) -> Params:
  """Variables of a normalised network, scaled so that no kernel has a size near 1."""
  model = spectral.SpectrallyNormalised(NETWORKS[network])
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros(SHAPE))
  variables['params'] = jax.tree.map(lambda w: 3.0 * w, variables['params'])
  step = jax.jit(spectral.power_iteration)
  for _ in range(iterations):
    variables = step(variables)
  return variables


def sizes(weights: Params) -> np.ndarray:
  """The largest singular value of every kernel, which lie (height, width, inputs, outputs)."""
  kernels = [leaf for leaf in jax.tree.leaves(weights) if leaf.ndim > 1]
  return np.array([np.linalg.norm(k.reshape(-1, k.shape[-1]).astype(float), 2) for k in kernels])


@pytest.mark.parametrize('network', NETWORKS)
def test_largest_singular_value_of_every_kernel_is_one(network: str) -> None:
  """In the end; before, |W v| of a unit vector falls short of it."""
  found = {}
  for iterations in (0, 300):
    variables = critic(network, iterations)
    weights, held = variables['params']['weights'], variables[spectral.DIRECTIONS]['v']
    found[iterations] = sizes(spectral.normalised(weights, held))
  assert np.abs(np.log(sizes(weights))).min() > 0.5
  assert len(found[0]) == 3
  assert found[0].min() >= 1.0 - 1e-6
  assert found[0].max() > 1.2
  np.testing.assert_allclose(found[300], 1.0, rtol=1e-3)


def test_power_iteration_finds_the_vector_of_the_largest_singular_value() -> None:
  variables = critic('mlp', 300)
  kernel = np.asarray(variables['params']['weights']['Dense_0']['kernel'], float)
  v = variables[spectral.DIRECTIONS]['v']["['Dense_0']['kernel']"]
  assert abs(np.linalg.svd(kernel)[2][0] @ v) == pytest.approx(1.0, abs=1e-3)


def test_critic_divides_kernels_and_leaves_biases() -> None:
  """By hand, of a network without hidden layers: W x / |W| + b."""
  network = spectral.SpectrallyNormalised(mlp.Encoder(1, ()))
  variables = network.init(jax.random.key(0), jnp.zeros((2, 1, 1)))
  variables['params']['weights']['Dense_0'] = {
    'kernel': jnp.array([[3.0], [-4.0]]), 'bias': jnp.array([7.0]),
  }  # fmt: skip
  found = network.apply(variables, jnp.array([2.0, 0.5]).reshape(2, 1, 1))
  np.testing.assert_allclose(found, [(3.0 * 2.0 - 4.0 * 0.5) / 5.0 + 7.0], rtol=1e-6)


def test_a_normalised_mlp_rises_by_one_at_most_wherever_it_is() -> None:
  variables, network = critic('mlp', 300), spectral.SpectrallyNormalised(NETWORKS['mlp'])
  gradient = jax.grad(lambda image: network.apply(variables, image).squeeze())
  images = 3.0 * jax.random.normal(jax.random.key(1), (500, *SHAPE))
  slopes = np.linalg.norm(jax.jit(jax.vmap(gradient))(images).reshape(500, -1), axis=1)
  assert slopes.max() <= 1.0 + 1e-3
  assert slopes.max() > 0.05


def test_gradient_is_of_the_quotient() -> None:
  """None along W, as a longer W is the same critic; and by differences of numpy's own norm."""
  variables, image = critic('mlp', 300), jax.random.normal(jax.random.key(1), SHAPE)
  network = spectral.SpectrallyNormalised(NETWORKS['mlp'])

  def f(weights: Params) -> jax.Array:
    return network.apply(variables | {'params': {'weights': weights}}, image).squeeze()

  weights = variables['params']['weights']
  kernel, gradient = weights['Dense_1']['kernel'], jax.grad(f)(weights)['Dense_1']['kernel']
  assert float(jnp.vdot(kernel, gradient)) == pytest.approx(0.0, abs=1e-4)
  plain, change = NETWORKS['mlp'], np.random.default_rng(0).normal(size=kernel.shape)

  def exact(moved: np.ndarray) -> float:
    divided = {
      name: layer | {'kernel': layer['kernel'] / np.linalg.norm(layer['kernel'], 2)}
      for name, layer in (weights | {'Dense_1': weights['Dense_1'] | {'kernel': moved}}).items()
    }
    return float(plain.apply({'params': divided}, image).squeeze())

  difference = (exact(kernel + 0.01 * change) - exact(kernel - 0.01 * change)) / 0.02
  assert float(jnp.vdot(change, gradient)) == pytest.approx(difference, rel=0.02)
  assert abs(difference) > 1e-3


def config(network: str = 'mlp', hidden: tuple[int, ...] = (8, 8), **fields: Any) -> Any:
  found = configuration.execute(str(ROOT / 'experiments' / 'hinge_gan.py'))
  found.objective.update({'constraint': 'spectral', 'latent': 2} | fields)
  found.network.name, found.network.hidden = network, hidden
  return found


def test_vectors_follow_the_critic_and_are_held_in_evaluation() -> None:
  """One iteration at the start and one after each of two steps, in state that nothing averages."""
  fields = config(critic_steps=2)
  fields.critic_optimizer.learning_rate = 0.0
  model = objectives.find_objective(fields, facts(SHAPE))
  params, memory = jax.jit(model.init)(jax.random.key(0))
  images, keys = jnp.zeros((4, *SHAPE)), jax.random.split(jax.random.key(1), 4)
  after, memory, metrics = jax.jit(on_one_device(model))(params, memory, images, keys)
  critic = params['critic']
  for _ in range(2):
    critic = spectral.power_iteration(critic)
  for place, v in critic[spectral.DIRECTIONS]['v'].items():
    found = after['critic'][spectral.DIRECTIONS]['v'][place]
    np.testing.assert_allclose(found, v, atol=1e-5)
    assert len(v) == 1 or np.abs(v - params['critic'][spectral.DIRECTIONS]['v'][place]).max()
  assert metrics['generator/critic_slope'] > 0.0
  assert not any('directions' in str(path) for path, _ in jax.tree.leaves_with_path(memory))


@pytest.mark.parametrize(
  ('network', 'message'),
  [
    ('dcgan', 'normalisation of images or batches undoes'),
    ('r3gan', 'some of them begin as zeros'),
  ],
)
def test_a_critic_that_cannot_be_divided_is_refused(network: str, message: str) -> None:
  with pytest.raises(UserError, match=message):
    objectives.find_objective(config(network), facts(SHAPE))


def test_a_critic_that_normalises_images_is_refused() -> None:
  fields = config('convolutional')
  fields.network.normalise = True
  with pytest.raises(UserError, match='normalisation of images or batches undoes'):
    objectives.find_objective(fields, facts(SHAPE))
