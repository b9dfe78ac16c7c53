"""The flow of causal transformers: its determinants, densities, inverses and bounds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.networks.transformer import CausalTransformer
from jaxgen.objectives.base import Objective
from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.flow.tarflow import forward, inverse, tarflow
from jaxgen.objectives.levels import Levels
from tests.examples import draw, example, examples, on_one_device


def network(dimension: int) -> CausalTransformer:
  return CausalTransformer(2 * dimension, width=8, depth=1, heads=2)


def drawn(dimension: int, patches: int, blocks: int, scale: float = 0.3) -> Any:
  """Parameters of a flow, every number of which is drawn."""
  x = jnp.zeros((patches, dimension))
  shapes = jax.eval_shape(network(dimension).init, jax.random.key(0), x)
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: jnp.float32(scale * rng.normal(size=(blocks, *leaf.shape))), shapes
  )


@pytest.mark.parametrize(('patches', 'dimension', 'blocks'), [(4, 1, 1), (3, 2, 3)])
def test_determinants_are_those_of_the_jacobian_and_inverses_exact(
  patches: int, dimension: int, blocks: int
) -> None:
  flow, params = network(dimension), drawn(dimension, patches, blocks)
  x = jnp.float32(np.random.default_rng(1).normal(size=(5, patches, dimension)))
  there = jax.jit(jax.vmap(lambda x: forward(flow, params, x)))
  z, log_determinant = there(x)
  jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda x: forward(flow, params, x)[0])))(x)
  square = np.asarray(jacobian, np.float64).reshape(5, patches * dimension, -1)
  np.testing.assert_allclose(log_determinant, np.linalg.slogdet(square)[1], rtol=1e-4, atol=1e-4)
  assert np.abs(log_determinant).min() > 1e-2
  back = jax.jit(jax.vmap(lambda z: inverse(flow, params, z)))
  np.testing.assert_allclose(back(z), x, atol=1e-4)
  np.testing.assert_allclose(there(back(x))[0], x, atol=1e-4)
  assert np.abs(z - x).max() > 0.1


def test_patches_see_those_before_them_and_the_order_turns_between_blocks() -> None:
  x = jnp.float32([[0.1], [-0.4], [0.3], [0.7]])
  flow = network(1)
  for blocks in (1, 2):
    params = drawn(1, 4, blocks)
    jacobian = np.asarray(jax.jacfwd(lambda x, p=params: forward(flow, p, x)[0])(x))[:, 0, :, 0]
    if blocks == 1:
      jacobian = jacobian[::-1]  # as the order has been turned once
      np.testing.assert_array_equal(np.triu(jacobian, 1), 0.0)
      jacobian = jacobian[np.tril_indices(4)]
    assert (np.abs(jacobian) > 1e-7).all()


def test_the_density_integrates_to_one() -> None:
  """Over more than all that is ever drawn."""
  flow, params = network(1), drawn(1, 2, 3)
  z = jax.random.normal(jax.random.key(0), (20_000, 2, 1))
  x = np.asarray(jax.jit(jax.vmap(lambda z: inverse(flow, params, z)))(z))[..., 0]
  reach = 0.2 * (x.max(0) - x.min(0))
  lines = np.linspace(x.min(0) - reach, x.max(0) + reach, 600, dtype=np.float32).T
  plane = np.stack(np.meshgrid(*lines), axis=-1).reshape(-1, 2, 1)

  def density(x: jax.Array) -> jax.Array:
    z, log_determinant = forward(flow, params, x)
    return jnp.exp(log_normal(z, jnp.zeros_like(z), jnp.zeros_like(z)) + log_determinant)

  p = np.asarray(jax.jit(jax.vmap(density))(plane), np.float64)
  area = np.diff(lines[:, :2]).prod()
  assert p.sum() * area == pytest.approx(1.0, abs=0.005)
  gaussian = stats.norm.pdf(plane).prod((1, 2))
  assert np.abs(p - gaussian).sum() * area > 0.1  # for it is another one


def model(shape: tuple[int, int, int], levels: Levels, **fields: Any) -> Objective:
  patch = fields.pop('patch', 1)
  network = CausalTransformer(2 * patch**2 * shape[2], width=16, depth=1, heads=2)
  fields = {'blocks': 2} | fields
  return tarflow(network, optax.adam(0.01), shape, levels, patch=patch, **fields)


def test_bounds_of_the_flow_that_does_nothing() -> None:
  """At first p is N(0, I): E log p(x + u) and log P(x) are known, and one is below the other."""
  levels, draws = Levels(5), 20_000
  image = np.float32([-1.0, -0.5, 0.5, 1.0]).reshape(2, 2, 1)
  objective = model((2, 2, 1), levels, draws=draws)
  params, _ = jax.jit(objective.init)(jax.random.key(0))
  found = jax.jit(objective.evaluate)(params, example(image), jax.random.key(1))
  width = 0.5
  bound = -0.5 * (image**2 + width**2 / 12 + np.log(2 * np.pi)) + np.log(width)
  mass = stats.norm.cdf(image + width / 2) - stats.norm.cdf(image - width / 2)
  bits = [-np.mean(nats) / np.log(2) for nats in (bound, np.log(mass))]
  names = 'dequantised', f'importance_weighted_{draws}'
  values = [found[f'{name}_bits_per_dimension_of_5_levels'] for name in names]
  np.testing.assert_allclose(values, bits, atol=2.5e-3)
  assert bits[0] > bits[1] + 5e-3


def test_samples_are_as_frequent_as_levels_are_probable() -> None:
  """Of a Gaussian, whose outermost levels have all that is beyond."""
  levels = Levels(5)
  objective = model((2, 1, 1), levels)
  params, _ = jax.jit(objective.init)(jax.random.key(0))
  x = draw(objective, params, jax.random.split(jax.random.key(1), 20_000))
  edges = np.array([-np.inf, -0.75, -0.25, 0.25, 0.75, np.inf])
  p = np.diff(stats.norm.cdf(edges))
  found = np.bincount(np.asarray(levels.index(x)).ravel(), minlength=5) / 40_000
  np.testing.assert_allclose(levels.grey(levels.index(x)), x, atol=1e-6)
  assert (np.abs(found - p) < 4.5 * np.sqrt(p * (1 - p) / 40_000)).all()


def test_codes_are_decoded_to_their_images() -> None:
  """In colour, by patches of 2x2, between the levels too; a code has as many numbers."""
  objective = model((4, 2, 3), Levels(256), patch=2)
  shapes, _ = jax.eval_shape(objective.init, jax.random.key(0))
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda leaf: jnp.float32(0.2 * rng.normal(size=leaf.shape)), shapes)
  image, key = jnp.float32(rng.uniform(-1, 1, (4, 2, 3))), jax.random.key(0)
  code = jax.jit(objective.encode)(params, image, key)
  assert code.size == image.size
  np.testing.assert_allclose(jax.jit(objective.decode)(params, code, key), image, atol=1e-4)


@pytest.mark.slow
def test_it_learns_gaussian_pixels_down_to_their_entropy() -> None:
  """Of two that have to do with each other, rounded to levels."""
  levels, spread, rho = Levels(33), 0.25, 0.9
  covariance = spread**2 * np.array([[1.0, rho], [rho, 1.0]])
  x = np.random.default_rng(0).multivariate_normal(np.zeros(2), covariance, (60, 128))
  x = np.clip(np.round(x * 16) / 16, -1.0, 1.0).reshape(60, 128, 1, 2, 1)
  objective = model((1, 2, 1), levels, draws=8)
  params, memory = jax.jit(objective.init)(jax.random.key(0))
  step = jax.jit(on_one_device(objective))
  for i in range(300):
    keys = jax.random.split(jax.random.key(i), 128)
    params, memory, _ = step(params, memory, x[i % 50], keys)
  held_out = x[50:].reshape(-1, 1, 2, 1)
  keys = jax.random.split(jax.random.key(0), len(held_out))
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, 0)))
  found = evaluate(params, examples(held_out), keys)
  bits = {name: float(value.mean()) for name, value in found.items()}
  # Of bins that are narrow, the entropy is that of the density less the log of their width.
  known = stats.multivariate_normal(np.zeros(2), covariance)
  entropy = -known.logpdf(held_out.reshape(-1, 2)).mean() - 2 * np.log(1 / 16)
  apart = -stats.norm(scale=spread).logpdf(held_out).mean() - np.log(1 / 16)
  entropy, apart = entropy / 2 / np.log(2), apart / np.log(2)
  assert bits['dequantised_bits_per_dimension_of_33_levels'] == pytest.approx(entropy, abs=0.05)
  assert apart > entropy + 0.5
  gap = bits['dequantised_bits_per_dimension_of_33_levels'] - entropy
  assert bits['importance_weighted_8_bits_per_dimension_of_33_levels'] < gap + entropy


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'blocks': 0}, r'objective\.blocks=0 and'),
    ({'draws': 0}, r'evaluation\.draws=0 must'),
    ({'patch': 3}, r'objective\.patch=3 does not tile a 4x2 image'),
  ],
)
def test_flows_that_cannot_be_are_refused(fields: dict[str, int], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    model((4, 2, 1), Levels(4), **fields)
