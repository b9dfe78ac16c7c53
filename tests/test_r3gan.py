"""R3GAN's networks: their filters on known images, and how they start."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.networks import r3gan


def test_upsampling_interpolates() -> None:
  """Between the centres of pixels, with zeros around the image; aligned, from pixel to pixel."""
  ramp = jnp.arange(8.0).reshape(4, 2, 1)
  found = np.asarray(r3gan.upsample(ramp.at[:, 1].set(0.0)))[..., 0]
  assert found.shape == (8, 4)
  rows = np.array([0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 4.5])
  np.testing.assert_allclose(found, np.outer(rows, [3 / 4, 3 / 4, 1 / 4, 0]))
  found = np.asarray(r3gan.upsample(ramp, aligned=True))[..., 0]
  np.testing.assert_allclose(found[:, 0], [0, 1, 2, 3, 4, 5, 6, 6])
  np.testing.assert_allclose(found[2], [2, 2.5, 3, 3])


def test_downsampling_is_a_weighted_mean() -> None:
  """[1, 3, 3, 1] / 8 about every other edge, or aligned [1, 2, 1] / 4 of every other pixel,
  [2, 1] / 3 at the first, [1, 2, 2] / 5 at the last.
  """
  point = jnp.zeros((8, 8, 1)).at[3, 4, 0].set(1.0)
  found = np.asarray(r3gan.downsample(point))[..., 0]
  np.testing.assert_allclose(found, np.outer([0, 3, 1, 0], [0, 1, 3, 0]) / 64)
  found = np.asarray(r3gan.downsample(point, aligned=True))[..., 0]
  np.testing.assert_allclose(found, np.outer([0, 1 / 4, 1 / 4, 0], [0, 0, 1 / 2, 0]))
  rows = np.array([[2, 1, 0, 0], [0, 1, 2, 2]]) / np.array([[3], [5]])
  found = np.asarray(r3gan.downsample(jnp.eye(4)[..., None], aligned=True))[..., 0]
  np.testing.assert_allclose(found, rows @ rows.T, rtol=1e-5)


@pytest.mark.parametrize('resample', [r3gan.upsample, r3gan.downsample])
def test_an_even_image_stays_even(resample: Callable[..., jax.Array]) -> None:
  """But for the paper's edges, which zeros are mixed into."""
  even = jnp.full((6, 8, 3), 0.7)
  np.testing.assert_allclose(resample(even, aligned=True), 0.7, rtol=1e-6)
  np.testing.assert_allclose(resample(even)[1:-1, 1:-1], 0.7, rtol=1e-6)


def test_residual_branches_start_at_zero_and_learn() -> None:
  """At the start a block is the identity, and its last convolution, not the first, has a slope."""
  block, x = r3gan.ResidualBlock(4), jax.random.normal(jax.random.key(0), (4, 4, 3))
  variables = block.init(jax.random.key(1), x)
  np.testing.assert_array_equal(block.apply(variables, x), x)
  slopes = jax.grad(lambda v: jnp.sum(block.apply(v, x) ** 2))(variables)['params']
  assert np.abs(slopes['Convolution_2']['kernel']).max() > 0.1
  assert np.abs(slopes['Convolution_0']['kernel']).max() == 0


def test_more_branches_start_smaller() -> None:
  """By L^{-1/4} each, so that two layers of 16 branches hold half of what they do of one."""
  x = jnp.zeros((4, 4, 64))
  kernels = [
    r3gan.ResidualBlock(branches).init(jax.random.key(0), x)['params']['Convolution_1']['kernel']
    for branches in (1, 16)
  ]
  first = [float(np.std(kernel)) for kernel in kernels]
  assert first[0] == pytest.approx(np.sqrt(2 / 1.04 / (9 * 64)), rel=0.02)
  assert first[1] == pytest.approx(first[0] / 2, rel=1e-3)


def test_biases_stand_before_activations_alone() -> None:
  """And no 1x1 convolution between stages of as many channels, unless all is as it was before."""
  image, z = jnp.zeros((8, 8, 1)), jnp.zeros(3)
  for bias, in_block, outside, layers in ((False, 2, 0, 2), (True, 3, 4, 3)):
    of = {'hidden': (4, 4, 8), 'bias': bias}
    networks = (r3gan.Encoder(1, **of), image), (r3gan.Decoder((8, 8, 1), **of), z)
    for network, x in networks:
      params = jax.eval_shape(network.init, jax.random.key(0), x)['params']
      paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(params)]
      biases = [p for p in paths if 'bias' in p]
      assert sum('ResidualBlock' in p for p in biases) == 3 * in_block
      assert sum('ResidualBlock' not in p for p in biases) == outside
      assert sum(name.startswith('Convolution') for name in params) == layers


def test_groups_divide_the_weights_of_the_3x3_convolutions() -> None:
  """And of no others: so many fewer parameters, by hand, in two stages of one block."""
  shapes = [
    jax.eval_shape(
      r3gan.Encoder(1, (8, 16), groups=n).init, jax.random.key(0), jnp.zeros((8, 8, 1))
    )
    for n in (1, 4)
  ]
  dense, grouped = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in shapes)
  assert dense - grouped == 9 * (8**2 + 16**2) * 3 // 4


@pytest.mark.slow
@pytest.mark.parametrize(('shape', 'hidden'), [((8, 8, 1), (6, 8)), ((28, 28, 1), (4, 6, 8))])
def test_both_start_at_the_size_of_what_they_make(
  shape: tuple[int, int, int], hidden: tuple[int, ...]
) -> None:
  """No layer of theirs normalises, so the initial weights have to keep variances near 1."""
  keys = jax.random.split(jax.random.key(0), 100)
  z, images = jax.random.normal(keys[0], (100, 16)), jax.random.normal(keys[1], (100, *shape))
  for network, inputs in ((r3gan.Decoder(shape, hidden), z), (r3gan.Encoder(5, hidden), images)):
    outputs = jax.vmap(lambda key, x: network.init_with_output(key, x)[0])(keys, inputs)  # noqa: B023
    assert 0.1 < np.std(outputs) < 2.0
