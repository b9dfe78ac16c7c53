"""A code of layers z_1 ... z_L, each with a prior and a posterior that see those above it.

Symbols as in `hierarchical`.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.objectives.base import Key, Params
from jaxgen.objectives.variational import bounds


class Ladder(NamedTuple):
  """The layers of a code, from the top down.

  Attributes:
    init: features (F,), key -> params of the priors and posteriors.
    infer: params, features (F,), noise (layers, latent) -> z (layers latent,), its e, and mean and
      log variance of q(e_l | z_<l, x), (layers, latent) each.
    generate: params, e (layers, latent) -> z (layers latent,).
  """

  init: Callable[[jax.Array, Key], Params]
  infer: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, ...]]
  generate: Callable[[Params, jax.Array], jax.Array]


def ladder(block: nn.Module, latent: int, layers: int) -> Ladder:
  """Priors and posteriors of so many layers, each by a network of its own.

  Args:
    block: vector -> (2 latent,), mean and log variance: of a prior from z_<l, of a posterior from
      the features and z_<l.
    latent: dimension of each layer.
    layers: L.
  """

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
    for layer in range(layers):
      seen = jnp.concatenate([features, z])
      q = jnp.split(block.apply(params[f'posterior_{layer + 1}'], seen), 2)
      e = bounds.reparameterize(*q, noise[layer])
      z = place(params, layer, z, e)
      found.append((e, *q))
    return z, *map(jnp.stack, zip(*found, strict=True))

  def generate(params: Params, code: jax.Array) -> jax.Array:
    z = jnp.zeros(0)
    for layer in range(layers):
      z = place(params, layer, z, code[layer])
    return z

  return Ladder(init, infer, generate)
