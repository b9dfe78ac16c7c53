"""Pairs of images and noise, against SciPy's assignment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from jaxgen.objectives.base import DEVICES
from jaxgen.objectives.diffusion.coupling import COUPLINGS

SHAPE = (3, 2, 1)
BATCH = 16


def paired(name: str, devices: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Images, noises and the noise of each image, in the order of the batch."""
  images = jax.random.normal(jax.random.key(0), (BATCH, *SHAPE))
  noises = jax.random.normal(jax.random.key(1), (BATCH, *SHAPE))

  def deal(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x.reshape(-1, devices, *SHAPE), 0, 1)

  found = jax.pmap(COUPLINGS[name], axis_name=DEVICES)(deal(images), deal(noises))
  return np.asarray(images), np.asarray(noises), np.swapaxes(found, 0, 1).reshape(images.shape)


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_optimal_pairs_have_the_least_distance(devices: int) -> None:
  """Each noise once, at the cost that SciPy finds, on any number of devices."""
  images, noises, found = paired('optimal', devices)
  flat = lambda x: x.reshape(BATCH, -1)  # noqa: E731
  distances = cdist(flat(images), flat(noises), 'sqeuclidean')
  least = distances[linear_sum_assignment(distances)].sum()
  assert np.sum((images - found) ** 2) == pytest.approx(least, rel=1e-5)
  assert np.sum((images - noises) ** 2) > 1.2 * least
  np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(noises, axis=0))


def test_independent_pairs_are_as_they_come() -> None:
  _, noises, found = paired('independent', 2)
  np.testing.assert_array_equal(found, noises)
