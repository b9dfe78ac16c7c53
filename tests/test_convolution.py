"""Convolutions, against XLA's and Flax's own."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.devices import flops
from jaxgen.layers import convolution
from jaxgen.layers.depthwise import DepthwiseConvolution


def nested(f: Any) -> dict[str, Any]:
  """Results of f(x, kernel) under the ways in which networks are batched and differentiated."""

  def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
    y = f(x, kernel)
    return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape))

  def of_batch(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.vmap(loss, in_axes=(0, None))(x, kernel).sum()

  def penalty(kernel: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.sum(jax.grad(loss)(x, kernel) ** 2)

  def in_loop(x: jax.Array, kernel: jax.Array) -> Any:
    return jax.lax.scan(
      lambda k, _: (k + 1e-4 * jax.grad(of_batch, 1)(x, k), None), kernel, None, 2
    )[0]

  both, per_image = (0, 1), (0, None)
  return {
    'alone': lambda x, k: f(x[0], k),
    'gradient of a batch': jax.grad(of_batch, both),
    'gradient of each': jax.vmap(jax.grad(loss, both), per_image),
    'of each axis of a batch of batches': lambda x, k: jax.vmap(
      jax.vmap(f, per_image), in_axes=(1, None)
    )(x[:, None], k),
    'gradient with a kernel each': lambda x, k: jax.grad(
      lambda x, k: jax.vmap(loss)(x, k).sum(), both
    )(x, jnp.stack([k] * len(x))),
    'a kernel each': lambda x, k: jax.vmap(f, in_axes=(None, 0))(x[0], jnp.stack([k, 2 * k])),
    'forward mode': lambda x, k: jax.jvp(of_batch, (x, k), (2 * x, 1 + k)),
    'forward over reverse': lambda x, k: jax.jvp(jax.grad(of_batch, both), (x, k), (x, k)),
    'penalty on gradients': lambda x, k: jax.vmap(jax.grad(penalty), (None, 0))(k, x),
    'recomputed': jax.grad(lambda x, k: jax.checkpoint(of_batch)(x, k), both),
    'in a loop': in_loop,
  }


@pytest.mark.parametrize('way', nested(None))
@pytest.mark.parametrize(('side', 'padding'), [(3, 1), (1, 0), (1, 1), (2, 0), (2, 1)])
def test_convolution_has_xlas_values_under_every_transformation(
  way: str, side: int, padding: int
) -> None:
  x = jax.random.normal(jax.random.key(0), (6, 5, 7, 3))
  kernel = jax.random.normal(jax.random.key(1), (side, side, 3, 4))

  def by(function: Any) -> Any:
    return jax.jit(nested(lambda x, k: function(x[None], k, padding)[0])[way])(x, kernel)

  ours, xlas = by(convolution.convolve), by(convolution.xla_convolution)
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(xlas), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(
  'way',
  [pytest.param(way, marks=[] if way == 'in a loop' else pytest.mark.slow) for way in nested(None)],
)
def test_groups_have_xlas_values_under_every_transformation(way: str) -> None:
  x = jax.random.normal(jax.random.key(0), (6, 5, 7, 4))
  kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 4))
  layer = convolution.Convolution(4, groups=2)

  def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return layer.apply({'params': {'kernel': kernel, 'bias': jnp.zeros(4)}}, x)

  def xlas(x: jax.Array, kernel: jax.Array) -> jax.Array:
    layout = ('NHWC', 'HWIO', 'NHWC')
    of = partial(jax.lax.conv_general_dilated, dimension_numbers=layout, feature_group_count=2)
    return of(x[None], kernel, (1, 1), 'SAME')[0]

  found, expected = (jax.jit(nested(function)[way])(x, kernel) for function in (ours, xlas))
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


def test_groups_are_one_convolution() -> None:
  """However many there are, and on accelerators one of XLA's that knows of groups."""
  x = jnp.zeros((4, 4, 8))

  def traced(groups: int) -> list[str]:
    layer = convolution.Convolution(8, groups=groups)
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    return [e.primitive.name for e in jax.make_jaxpr(layer.apply)(params, x).eqns]

  assert traced(2) == traced(8)
  assert traced(8).count('convolution') == 1
  groups = jnp.zeros((8, 2, 4, 4, 3)), jnp.zeros((8, 3, 3, 3, 5))
  (equation,) = (
    e
    for e in jax.make_jaxpr(partial(convolution.xla_convolution, padding=1))(*groups).eqns
    if e.primitive.name == 'conv_general_dilated'
  )
  assert equation.params['feature_group_count'] == 8


@pytest.mark.parametrize('count', [1, 3, 8])
@pytest.mark.parametrize(('dtype', 'tolerance'), [('float32', 1e-5), ('bfloat16', 2**-8)])
def test_kernel_gradients_by_groups_and_by_xla_agree(
  count: int, dtype: str, tolerance: float
) -> None:
  """A sum of products of bfloat16 numbers is taken in float32, and only then rounded."""
  x = jax.random.normal(jax.random.key(0), (count, 5, 7, 3), dtype)
  g = jax.random.normal(jax.random.key(1), (count, 5, 7, 4), dtype)
  found = convolution.kernel_gradient_by_groups(x, g, 1)
  assert found.dtype == dtype
  exact = convolution.xla_kernel_gradient(x.astype('float32'), g.astype('float32'), 1)
  np.testing.assert_allclose(found.astype('float32'), exact, rtol=tolerance, atol=1e-5)


@pytest.mark.parametrize(
  ('ours', 'flaxs'),
  [
    (convolution.Convolution(4), nn.Conv(4, (3, 3))),
    (convolution.Convolution(4, side=1), nn.Conv(4, (1, 1))),
    (convolution.StridedConvolution(4), nn.Conv(4, (4, 4), strides=2)),
    (convolution.TransposedConvolution(4), nn.ConvTranspose(4, (4, 4), strides=(2, 2))),
    (convolution.Convolution(4, groups=2), nn.Conv(4, (3, 3), feature_group_count=2)),
    (
      convolution.StridedConvolution(4, groups=2),
      nn.Conv(4, (4, 4), strides=2, feature_group_count=2),
    ),
  ],
)
def test_convolutions_equal_flaxs(ours: nn.Module, flaxs: nn.Module) -> None:
  """Values for the same parameters, and the parameters that the same key makes."""
  x = jax.random.normal(jax.random.key(0), (6, 10, 6))
  params = ours.init(jax.random.key(1), x)
  jax.tree.map(np.testing.assert_array_equal, params, flaxs.init(jax.random.key(1), x))
  params['params']['bias'] = jnp.arange(4.0)
  np.testing.assert_allclose(ours.apply(params, x), flaxs.apply(params, x), rtol=1e-4, atol=1e-5)


def test_depthwise_convolution_equals_flaxs() -> None:
  ours = DepthwiseConvolution(side=5)
  flaxs = nn.Conv(6, (5, 5), feature_group_count=6, use_bias=False)
  x = jax.random.normal(jax.random.key(0), (6, 10, 6))
  params = ours.init(jax.random.key(1), x)
  jax.tree.map(np.testing.assert_array_equal, params, flaxs.init(jax.random.key(1), x))
  np.testing.assert_allclose(ours.apply(params, x), flaxs.apply(params, x), rtol=1e-4, atol=1e-5)


def test_groups_see_their_own_channels_alone() -> None:
  """Each as a transposed convolution of its own."""
  x = jax.random.normal(jax.random.key(0), (4, 4, 6))
  ours = convolution.TransposedConvolution(4, groups=2)
  params = ours.init(jax.random.key(1), x)
  kernel = params['params']['kernel']
  assert kernel.shape == (4, 4, 3, 4)
  flaxs = nn.ConvTranspose(2, (4, 4), strides=(2, 2), use_bias=False)
  parts = zip(jnp.split(x, 2, -1), jnp.split(kernel, 2, -1), strict=True)
  alone = [flaxs.apply({'params': {'kernel': k}}, part) for part, k in parts]
  np.testing.assert_allclose(ours.apply(params, x), np.concatenate(alone, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('channels', 'features'), [(6, 4), (8, 6)])
def test_channels_that_no_groups_divide_are_refused(channels: int, features: int) -> None:
  layer = convolution.Convolution(features, groups=4)
  with pytest.raises(
    ValueError, match=f'{channels} and {features} channels cannot be divided into'
  ):
    jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((4, 4, channels)))


def test_operations_of_convolutions_are_counted() -> None:
  """2 x the multiplications; as many again for each of the two gradients."""
  x, kernel = jnp.ones((2, 5, 7, 3)), jnp.ones((3, 3, 3, 4))
  once = 2 * 2 * 5 * 7 * 9 * 3 * 4
  assert flops.count(lambda x, k: convolution.convolve(x, k, 1), x, kernel) == once
  gradients = jax.grad(lambda x, k: convolution.convolve(x, k, 1).sum(), (0, 1))
  assert flops.count(gradients, x, kernel) == 3 * once


def test_space_to_depth_gathers_squares_and_back() -> None:
  x = jnp.arange(4 * 6 * 2.0).reshape(4, 6, 2)
  deep = convolution.space_to_depth(x, 2)
  np.testing.assert_array_equal(deep[1, 2], x[2:4, 4:6].ravel())
  np.testing.assert_array_equal(convolution.depth_to_space(deep, 2), x)
