"""Which noise an image of a batch is mixed with."""

import jax
import jax.numpy as jnp
import optax

from jaxgen.objectives import base
from jaxgen.objectives.base import Images


def independent(images: Images, noises: jax.Array) -> jax.Array:
  """Any noise with any image."""
  del images
  return noises


def optimal(images: Images, noises: jax.Array) -> jax.Array:
  """Pairs of the whole batch with the least sum of squared distances (Tong et al. 2024, sec. 3.2).

  Ways between them then cross less. The assignment takes time like the cube of the batch.
  """
  share, devices = len(images), jax.lax.axis_size(base.DEVICES)
  images, noises = base.gather((images, noises))
  flat = [x.reshape(len(x), -1) for x in (images, noises)]
  cost = -jnp.dot(flat[0], flat[1].T, precision='highest')  # the squares are of any pairing
  rows, columns = optax.assignment.hungarian_algorithm(cost)
  paired = jnp.zeros_like(noises).at[rows].set(noises[columns])
  device = jax.lax.axis_index(base.DEVICES) if devices > 1 else 0
  return paired.reshape(share, devices, *noises.shape[1:])[:, device]


COUPLINGS = {'independent': independent, 'optimal': optimal}
