"""Where in their law the noise levels of a batch lie: numbers of [0, 1], spread evenly."""

import jax
import jax.numpy as jnp

from jaxgen.objectives.base import DEVICES, Keys

EDGE = 1e-6  # quantiles keep this distance from 0 and 1


def drawn(keys: Keys, stratified: bool) -> jax.Array:
  """A uniform number for each example of this device's share of the batch, (N,).

  Stratified, example i of all B has one of [i / B, (i + 1) / B): each is uniform over a run in
  which images change places, and the mean over a batch varies less (Kingma et al. 2021, app. I.1).
  """
  u = jax.vmap(jax.random.uniform)(keys)
  if stratified:
    devices = jax.lax.axis_size(DEVICES)  # example i goes to device i modulo their number
    device = jax.lax.axis_index(DEVICES) if devices > 1 else 0  # one alone takes no mean over all
    places = jnp.arange(len(keys)) * devices + device
    u = (places + u) / (len(keys) * devices)
  return inside(u)


def inside(u: jax.Array) -> jax.Array:
  """Kept off the ends, where a law may reach infinity."""
  return jnp.clip(u, EDGE, 1.0 - EDGE)
