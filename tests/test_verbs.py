"""What algorithms that do not descend are written with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.objectives.base import DEVICES, each, gather, reducing
from tests.examples import dealt

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 32, 2, 2, 1), np.uint8)


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_gather_puts_every_example_at_its_place(devices: int) -> None:
  share = jax.tree.map(lambda array: array[:, 0], dealt(PIXELS, devices))
  call = jax.pmap(gather, axis_name=DEVICES, out_axes=None, devices=jax.devices()[:devices])
  found = call(share)
  np.testing.assert_array_equal(found.row, np.arange(32))
  np.testing.assert_array_equal(found.image, PIXELS[0])


@pytest.mark.parametrize('reduction', ['mean', 'ordered'])
@pytest.mark.parametrize('devices', [1, 2, 4])
def test_each_gives_every_example_its_own_value(devices: int, reduction: str) -> None:
  share = jax.tree.map(lambda array: array[:, 0], dealt(PIXELS, devices))

  def values(share: Any) -> Any:
    with reducing(reduction):
      return each(lambda image, row: (image.astype(jnp.float32).sum(), row), *share[::2])

  call = jax.pmap(values, axis_name=DEVICES, devices=jax.devices()[:devices])
  sums, rows = call(share)
  np.testing.assert_array_equal(rows, share.row)
  np.testing.assert_array_equal(sums, share.image.astype(float).sum((2, 3, 4)))
