"""Pairs made of images: what they are of images whose answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.datasets.pairs import PAIRS, edges, find_pair, half, negative, rotated


def test_edges_are_where_an_image_changes_and_as_bright_as_it_does() -> None:
  """Of nothing, of a step from black to white, of a ramp with a slope of a half."""
  np.testing.assert_array_equal(edges(jnp.full((4, 5, 2), 0.3)), -1.0)
  step = jnp.where(jnp.arange(6) < 3, -1.0, 1.0)[None, :, None] * jnp.ones((4, 6, 1))
  expected = np.where(np.isin(np.arange(6), (2, 3)), 1.0, -1.0)
  np.testing.assert_array_equal(edges(step)[..., 0], np.tile(expected, (4, 1)))
  np.testing.assert_array_equal(edges(step.swapaxes(0, 1))[..., 0], np.tile(expected, (4, 1)).T)
  ramp = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, 5)[:, None, None], (5, 4, 1))
  np.testing.assert_allclose(edges(ramp)[1:-1], 0.0, atol=1e-6)


def test_turns_negatives_and_halves() -> None:
  image = jnp.arange(9.0).reshape(3, 3, 1) / 8.0
  np.testing.assert_array_equal(8 * rotated(image)[..., 0], [[2, 5, 8], [1, 4, 7], [0, 3, 6]])
  np.testing.assert_array_equal(8 * negative(image)[0, :, 0], [0, -1, -2])
  np.testing.assert_array_equal(8 * half(image)[..., 0], [[0, 1, 2], [-8] * 3, [-8] * 3])


@pytest.mark.parametrize('name', PAIRS)
def test_pairs_are_as_large_and_as_bright_as_images(name: str) -> None:
  images = np.random.default_rng(0).choice([-1.0, 0.5, 1.0], (4, 6, 6, 3))
  for image in images:
    x = find_pair(name, image.shape)(jnp.asarray(image, jnp.float32))
    assert (x.shape, x.dtype) == (image.shape, jnp.float32)
    assert np.abs(x).max() == 1.0


@pytest.mark.parametrize(
  ('name', 'shape', 'message'),
  [
    ('none', (8, 8, 1), "data.pair='none', and a model .* choose one of edges, rotated, negative,"),
    ('rotated', (8, 6, 1), '8x6 image on its side: choose another pair'),
  ],
)
def test_no_pair_and_one_that_does_not_fit_are_refused(
  name: str, shape: tuple[int, int, int], message: str
) -> None:
  with pytest.raises(ValueError, match=message):
    find_pair(name, shape)
