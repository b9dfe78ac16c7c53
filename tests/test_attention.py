"""Self-attention of convolutional players: what it computes, how it starts, what it costs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxgen import configuration, objectives
from jaxgen.layers.attention import SelfAttention
from jaxgen.networks import convolutional, unet
from jaxgen.objectives.adversarial import spectral
from tests.examples import EXPERIMENTS, example, facts

SHAPE = (8, 8, 1)


def size(tree: Any) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_every_place_collects_what_resembles_it() -> None:
  """By loops over places, with the weights that a key makes and a gamma of 0.7."""
  x = np.random.default_rng(0).normal(size=(2, 3, 16))
  layer = SelfAttention()
  variables = layer.init(jax.random.key(0), jnp.asarray(x, jnp.float32))['params']
  kernels = [np.asarray(variables[f'Convolution_{i}']['kernel'], float)[0, 0] for i in range(4)]
  f, g, h = (x.reshape(6, 16) @ kernel for kernel in kernels[:3])
  expected = x.reshape(6, 16).copy()
  for j in range(6):
    beta = softmax([f[i] @ g[j] for i in range(6)])
    expected[j] += 0.7 * sum(beta[i] * h[i] for i in range(6)) @ kernels[3]
  found = layer.apply(
    {'params': variables | {'gamma': jnp.float32(0.7)}}, jnp.asarray(x, jnp.float32)
  )
  np.testing.assert_allclose(found.reshape(6, 16), expected, rtol=1e-4, atol=1e-5)
  assert np.abs(expected - x.reshape(6, 16)).max() > 0.1


@pytest.mark.parametrize('channels', [64, 4])
def test_parameters_by_hand(channels: int) -> None:
  """Three kernels to an eighth of the channels, but one at least, one back, biases and gamma."""
  narrow = max(1, channels // 8)
  shapes = jax.eval_shape(SelfAttention().init, jax.random.key(0), jnp.zeros((2, 2, channels)))
  assert size(shapes) == 4 * channels * narrow + 3 * narrow + channels + 1


@pytest.mark.slow
@pytest.mark.parametrize('layer', [0, -1])
@pytest.mark.parametrize('role', ['Encoder', 'Decoder'])
def test_players_start_as_without_and_learn_to_look_further(role: str, layer: int) -> None:
  network, first, given = {
    'Encoder': (convolutional.Encoder, 3, jax.random.normal(jax.random.key(1), SHAPE)),
    'Decoder': (convolutional.Decoder, SHAPE, jax.random.normal(jax.random.key(1), (4,))),
  }[role]
  plain, attentive = network(first, (16, 24)), network(first, (16, 24), attention=(layer,))
  init = jax.random.key(0)
  before, after = plain.init(init, given), attentive.init(init, given)
  np.testing.assert_array_equal(plain.apply(before, given), attentive.apply(after, given))
  channels = (16, 24)[layer]
  extra = after['params']['SelfAttention_0']
  assert size(after) - size(before) == size(extra)
  assert extra['Convolution_3']['kernel'].shape == (1, 1, channels // 8, channels)
  slopes = jax.grad(lambda v: jnp.sum(attentive.apply(v, given) ** 2))(after)['params']
  assert np.abs(slopes['SelfAttention_0']['gamma']) > 0.0


def test_a_layer_that_is_not_there_is_refused() -> None:
  network = convolutional.Encoder(1, (8, 8), attention=(2,))
  with pytest.raises(
    ValueError, match=r'network.attention=\(2,\) stands behind hidden layers 0 to'
  ):
    jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(SHAPE))


def test_a_level_that_is_not_there_is_refused() -> None:
  network = unet.UNet(channels=8, multipliers=(1, 2), blocks=1, attention=(2,), patch=1)
  with pytest.raises(ValueError, match=r'network.attention=\(2,\) stands behind levels 0 to 1'):
    jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(SHAPE), jnp.int32(1))


def test_a_spectrally_normalised_critic_has_every_kernel_of_its_attention_divided() -> None:
  """And not gamma, which says how much attention there is."""
  network = convolutional.Encoder(1, (16, 16), attention=(0,))
  weights = network.init(jax.random.key(0), jnp.zeros(SHAPE))['params']
  weights['SelfAttention_0']['gamma'] = jnp.float32(3.0)
  places = spectral.matrices(weights)
  assert sum('SelfAttention_0' in place for place in places) == 4
  assert len(places) == 7
  found = spectral.normalised(weights, spectral.directions(weights, jax.random.key(1)))
  assert found['SelfAttention_0']['gamma'] == 3.0


@pytest.mark.slow
def test_biggans_parts_play_together() -> None:
  """A label for both, a hinge, attention in both players, truncated samples."""
  config = configuration.execute(str(next(p for p in EXPERIMENTS if p.stem == 'biggan')))
  config.network.hidden, config.objective.latent = (8, 8), 4
  model = objectives.find_objective(config, facts(SHAPE, classes=10))
  params, _ = jax.jit(model.init)(jax.random.key(0))
  for player in (params['generator'], params['critic']):
    assert any("'gamma'" in jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(player))
  found = jax.jit(model.evaluate)(params, example(jnp.ones(SHAPE), 3), jax.random.key(1))
  assert 'penalty' not in found
  labels = jnp.arange(2)
  draws = jax.vmap(model.sample, in_axes=(None, 0, None))(params, labels, jax.random.key(2))
  assert np.abs(draws[0] - draws[1]).max() > 1e-4
