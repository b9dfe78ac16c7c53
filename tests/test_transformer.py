"""The transformer of diffusion: sizes, places, and what it does at the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.layers.embedding import grid_embedding
from jaxgen.networks.transformer import Transformer, modulated
from tests.examples import random_like

SMALL = {'width': 16, 'depth': 2, 'heads': 2, 'patch': 2}
TIME = jnp.float32(10)


def test_parameters_of_the_papers_sizes() -> None:
  """DiT-S, B, L and XL on latents 32x32x4 of 1,000 classes with twice the channels out (tab. 1)."""
  for size, (depth, width, heads, millions) in {
    'S': (12, 384, 6, 33),
    'B': (12, 768, 12, 130),
    'L': (24, 1024, 16, 458),
    'XL': (28, 1152, 16, 675),
  }.items():
    network = Transformer(width, depth, heads, patch=2, output_channels=8, classes=1000)
    shapes = jax.eval_shape(
      network.init, jax.random.key(0), jnp.zeros((32, 32, 4)), TIME, jnp.int32(0)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == pytest.approx(millions * 1e6, rel=0.01), size


def test_every_branch_starts_at_zero() -> None:
  x = jax.random.normal(jax.random.key(0), (8, 8, 1))
  out, params = Transformer(**SMALL).init_with_output(jax.random.key(1), x, TIME)
  np.testing.assert_array_equal(out, jnp.zeros_like(x))
  gates = [block['Dense_0'] for name, block in params['params'].items() if name.startswith('Block')]
  assert len(gates) == 2
  assert not any(np.abs(leaf).max() for leaf in jax.tree.leaves(gates))


def test_tokens_are_normalised_before_they_are_modulated() -> None:
  x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (5, 64))
  out = modulated(x, jnp.full(64, 1.0), jnp.full(64, 0.5))
  np.testing.assert_allclose(out.mean(axis=-1), 0.5, atol=1e-5)
  np.testing.assert_allclose(out.std(axis=-1), 2.0, rtol=1e-4)


def test_every_place_has_a_vector_of_its_own() -> None:
  """Sines and cosines: as long everywhere, and nearer places are more alike."""
  places = grid_embedding(7, 5, 16).reshape(35, 16)
  np.testing.assert_allclose(np.sum(places**2, axis=1), 8.0, rtol=1e-5)
  alike = places @ places.T
  assert (np.argmax(alike, axis=1) == np.arange(35)).all()
  assert np.sort(alike, axis=1)[:, -2].max() < 8.0 - 0.1
  by_row, by_column = alike.reshape(7, 5, 7, 5)[0, 0, :, 0], alike.reshape(7, 5, 7, 5)[0, 0, 0, :]
  np.testing.assert_allclose(by_row[:3], by_column[:3], rtol=1e-5)
  assert (np.diff(by_row[:3]) < 0).all()


@pytest.mark.slow
def test_label_interval_and_dropout_are_felt() -> None:
  network = Transformer(**SMALL, classes=3, interval=True, dropout=0.5)
  x = jax.random.normal(jax.random.key(0), (4, 4, 1))
  shapes = jax.eval_shape(network.init, jax.random.key(0), x, TIME, jnp.int32(0), TIME)
  params = random_like(shapes)
  apply = jax.jit(network.apply, static_argnames='training')
  plain = apply(params, x, TIME, jnp.int32(0), TIME)
  others = [
    apply(params, x, TIME, jnp.int32(1), TIME),
    apply(params, x, TIME, jnp.int32(-1), TIME),
    apply(params, x, TIME, jnp.int32(0), TIME + 50),
    apply(params, x, TIME + 50, jnp.int32(0), TIME),
    apply(params, x, TIME, jnp.int32(0), TIME, training=True, rngs={'dropout': jax.random.key(2)}),
  ]
  for one, other in zip([plain, *others], [*others, plain], strict=True):
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'patch': 3}, 'patches of 3 do not tile a 8x8 image: choose network.patch'),
    ({'width': 18, 'heads': 4}, 'network.width=18 must be a multiple of network.heads=4 and of 4'),
  ],
)
def test_sizes_that_do_not_fit(fields: dict[str, int], message: str) -> None:
  network = Transformer(**SMALL | fields)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((8, 8, 1)), TIME)
