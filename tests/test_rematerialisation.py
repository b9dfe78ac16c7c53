"""What is computed twice is the same, and is not kept."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.networks.transformer import Transformer
from jaxgen.networks.unet import UNet

RNG = np.random.default_rng(0)
X, TIME = jnp.asarray(RNG.normal(size=(8, 8, 2)), jnp.float32), jnp.float32(7)
NETWORKS = {
  'unet': (UNet, {'channels': 8, 'multipliers': (1,), 'blocks': 1, 'dropout': 0.5}),
  'transformer': (Transformer, {'width': 16, 'depth': 2, 'heads': 2, 'patch': 2, 'dropout': 0.5}),
}


@pytest.mark.parametrize('name', [pytest.param('unet', marks=pytest.mark.slow), 'transformer'])
def test_values_and_gradients_are_the_same(name: str) -> None:
  """With parameters of the same names, and the same features left out."""
  kind, fields = NETWORKS[name]
  plain, again = (kind(**fields, remat=remat) for remat in (False, True))
  shapes, others = (jax.eval_shape(n.init, jax.random.key(0), X, TIME) for n in (plain, again))
  assert shapes == others
  params = jax.tree.map(lambda a: jnp.asarray(RNG.normal(size=a.shape) / 3, jnp.float32), shapes)

  def loss(network: nn.Module) -> Any:
    def of(params: Any) -> jax.Array:
      rngs = {'dropout': jax.random.key(1)}
      return jnp.mean(network.apply(params, X, TIME, training=True, rngs=rngs) ** 2)

    return jax.jit(jax.value_and_grad(of))

  assert 'prevent_cse' not in str(jax.make_jaxpr(loss(plain))(params))
  assert 'prevent_cse' in str(jax.make_jaxpr(loss(again))(params))
  (value, gradient), (other, twice) = loss(plain)(params), loss(again)(params)
  np.testing.assert_allclose(value, other, rtol=1e-6)
  for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(twice), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize('name', NETWORKS)
def test_the_inside_of_blocks_is_not_kept(name: str) -> None:
  """For the gradient of one image of 32x32, next to which parameters are small."""
  kind, fields = NETWORKS[name]
  x, kept = jnp.zeros((32, 32, 2)), []
  for remat in (False, True):
    network = kind(**fields, remat=remat)
    params = jax.eval_shape(network.init, jax.random.key(0), x, TIME)
    backward = jax.eval_shape(
      lambda params: jax.vjp(lambda p: network.apply(p, x, TIME), params)[1],  # noqa: B023
      params,
    )
    kept.append(sum(leaf.size for leaf in jax.tree.leaves(backward)))
  assert kept[1] < 0.5 * kept[0]
