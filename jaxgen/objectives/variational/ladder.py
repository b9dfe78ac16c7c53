"""A code of layers z_1 ... z_L, each with a prior and a posterior that see those above it.

Symbols as in `hierarchical`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.base import Key, Params
from jaxgen.objectives.variational import bounds


class Ladder(NamedTuple):
  """The layers of a code, from the top down, which is all of them one after the other, (codes,).

  Attributes:
    sizes: how many numbers each layer has.
    init: what an encoder says of an image, key -> params of the priors and posteriors.
    infer: params, what an encoder says, noise (codes,) -> z as the decoder takes it, its e, and
      mean and log variance of q(e_l | z_<l, x), (codes,) each.
    generate: params, e (codes,) -> z as the decoder takes it.
    networks: that it is made of, by name.
  """

  sizes: tuple[int, ...]
  init: Callable[[Any, Key], Params]
  infer: Callable[[Params, Any, jax.Array], tuple[jax.Array, ...]]
  generate: Callable[[Params, jax.Array], jax.Array]
  networks: Mapping[str, nn.Module]

  @property
  def codes(self) -> int:
    """How many numbers all layers have."""
    return sum(self.sizes)

  @property
  def ends(self) -> np.ndarray:
    """Where each layer ends, (layers,)."""
    return np.cumsum(self.sizes)

  def split(self, code: jax.Array) -> list[jax.Array]:
    """(..., codes) -> a part for each layer."""
    return jnp.split(code, self.ends[:-1], axis=-1)


def vector_ladder(block: nn.Module, latent: int, layers: int) -> Ladder:
  """Priors and posteriors of so many vectors, each by a network of its own; z is all of them.

  Args:
    block: vector -> (2 latent,), mean and log variance: of a prior from z_<l, of a posterior from
      the features and z_<l.
    latent: dimension of each layer.
    layers: L.

  Raises:
    ValueError: there is no layer.
  """
  if layers < 1:
    raise ValueError(f'objective.layers={layers} must be at least 1')

  def init(features: jax.Array, key: Key) -> Params:
    keys = jax.random.split(key, (layers, 2))
    params = {}
    for layer in range(layers):
      above = jnp.zeros(layer * latent)
      seen = jnp.concatenate([features, above])
      params[f'posterior_{layer + 1}'] = block.init(keys[layer, 0], seen)
      if layer:
        params[f'prior_{layer + 1}'] = block.init(keys[layer, 1], above)
    return params

  def place(params: Params, layer: int, above: jax.Array, e: jax.Array) -> jax.Array:
    """z_<l and z_l = m_l + s_l e_l, from z_<l and e_l."""
    if layer:
      prior = jnp.split(block.apply(params[f'prior_{layer + 1}'], above), 2)
      e = bounds.reparameterize(*prior, e)
    return jnp.concatenate([above, e])

  def infer(params: Params, features: jax.Array, noise: jax.Array) -> tuple[jax.Array, ...]:
    z, found = jnp.zeros(0), []
    for layer, here in enumerate(jnp.split(noise, layers)):
      seen = jnp.concatenate([features, z])
      q = jnp.split(block.apply(params[f'posterior_{layer + 1}'], seen), 2)
      e = bounds.reparameterize(*q, here)
      z = place(params, layer, z, e)
      found.append((e, *q))
    return z, *map(jnp.concatenate, zip(*found, strict=True))

  def generate(params: Params, code: jax.Array) -> jax.Array:
    z = jnp.zeros(0)
    for layer, e in enumerate(jnp.split(code, layers)):
      z = place(params, layer, z, e)
    return z

  return Ladder((latent,) * layers, init, infer, generate, {'block': block})


def network_ladder(top_down: nn.Module) -> Ladder:
  """Priors and posteriors in one network, of layers with a size each; z is its last state.

  Args:
    top_down: noise (codes,), what an encoder says -> z, e, and mean and log variance of its
      posterior; without what an encoder says, the same of the prior. Has the `sizes` of layers.
  """

  def init(seen: Any, key: Key) -> Params:
    return top_down.init(key, jnp.zeros(sum(top_down.sizes)), seen)

  def infer(params: Params, seen: Any, noise: jax.Array) -> tuple[jax.Array, ...]:
    return top_down.apply(params, noise, seen)

  def generate(params: Params, code: jax.Array) -> jax.Array:
    return top_down.apply(params, code)[0]

  return Ladder(top_down.sizes, init, infer, generate, {'ladder': top_down})
