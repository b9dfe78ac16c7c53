"""InceptionV3: its graph and resize against independent ones, and the files it accepts."""

from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.features import inception, s4_legacy
from jaxgen.features.inception_network import (
  PUBLISHED,
  SIDE,
  BlockA,
  BlockC,
  BlockE,
  Trunk,
  prepare,
  resize,
)


def test_has_the_published_number_of_parameters() -> None:
  """23 834 568 with 1000 classes; here 1008, each with 2048 weights and a bias."""
  count = sum(
    np.prod(shape) for name, shape in inception.weight_shapes().items() if 'running' not in name
  )
  assert count + 1008 == 23_834_568 + 8 * 2049


def test_resize_by_hand() -> None:
  """Twice as wide: every second pixel between its neighbours, the last repeated."""
  row = np.array([0.0, 10.0, 40.0], np.float32)
  image = np.broadcast_to(row[None, None, :, None], (1, 3, 3, 1))
  wide = resize(image, 6)[0, :, :, 0]
  np.testing.assert_allclose(wide, np.tile([0.0, 5.0, 10.0, 25.0, 40.0, 40.0], (6, 1)))
  same = np.random.default_rng(0).normal(size=(1, 299, 299, 3)).astype(np.float32)
  np.testing.assert_array_equal(resize(same), same)


def test_grey_is_repeated_and_scaled() -> None:
  images = np.full((1, 5, 7, 1), 192, np.uint8)
  prepared = prepare(images)
  assert prepared.shape == (1, 299, 299, 3)
  np.testing.assert_array_equal(prepared, 0.5)
  grey = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1)).astype(np.uint8)
  np.testing.assert_array_equal(prepare(grey), prepare(grey.repeat(3, axis=-1)))


def pooled(block: Callable[..., nn.Module], plane: np.ndarray, **fields: object) -> np.ndarray:
  """What the pooling branch of a block hands to its convolution, of one plane (H, W)."""
  handed = {}

  def convolution(x: jax.Array, name: str, width: int, *_: object, **__: object) -> jax.Array:
    handed[name] = x
    return jnp.zeros((*x.shape[:3], width))

  layers = PUBLISHED._replace(conv=convolution)
  block(layers, **fields).apply({}, jnp.asarray(plane, jnp.float32)[None, :, :, None])
  return np.asarray(handed['branch_pool'])[0, :, :, 0]


AVERAGING = pytest.mark.parametrize(
  ('block', 'fields'),
  [(BlockA, {'pool_width': 32}), (BlockC, {'width': 8}), (BlockE, {'last': False})],
)


@AVERAGING
def test_averages_leave_the_padding_out(block: Callable[..., nn.Module], fields: dict) -> None:
  """A constant stays what it is, at the border and in the corners too."""
  np.testing.assert_allclose(pooled(block, np.ones((4, 5)), **fields), 1.0, rtol=1e-6)
  corner = np.zeros((4, 5))
  corner[0, 0] = 12.0
  expected = np.zeros((4, 5))
  expected[:2, :2] = [[3.0, 2.0], [2.0, 12.0 / 9.0]]  # of 4, 6, 6 and 9 pixels
  np.testing.assert_allclose(pooled(block, corner, **fields), expected, rtol=1e-6)


def test_the_last_block_takes_maxima() -> None:
  point, square = np.zeros((2, 5, 5))
  point[2, 2], square[1:4, 1:4] = -1.0, 1.0
  np.testing.assert_array_equal(pooled(BlockE, -9.0 * point, last=True), 9.0 * square)
  np.testing.assert_array_equal(pooled(BlockE, point - 1.0, last=True), -1.0)


def test_which_block_is_the_last() -> None:
  found = {}

  def watch(call: Callable, arguments: tuple, keywords: dict, context: object) -> object:
    if isinstance(context.module, BlockE):
      found[context.module.name] = context.module.last
    return call(*arguments, **keywords)

  image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), np.float32)
  with nn.intercept_methods(watch):
    jax.eval_shape(Trunk().init, jax.random.key(0), image)
  assert found == {'Mixed_7b': False, 'Mixed_7c': True}


def test_the_reports_network_counts_the_padding_and_takes_means_throughout() -> None:
  """As torchvision's does."""
  ones = jnp.ones((1, 5, 5, 1))
  for pool in (s4_legacy.NETWORK.layers.average, s4_legacy.NETWORK.layers.last):
    means = np.asarray(pool(ones))[0, :, :, 0]
    assert [means[0, 0], means[0, 2], means[2, 2]] == pytest.approx([4 / 9, 6 / 9, 1.0])


@pytest.fixture
def plain_weights() -> dict[str, np.ndarray]:
  return {
    name: np.full(shape, 0.01, np.float32) for name, shape in inception.weight_shapes().items()
  }


def test_fingerprint_is_of_the_weights_not_of_the_file(
  plain_weights: dict[str, np.ndarray], tmp_path: Path
) -> None:
  path = tmp_path / 'weights.npz'
  np.savez(path, **plain_weights)
  features = inception.build(path)
  assert (features.name, features.dimension) == ('inception', 2048)
  ignored = {'fc.bias': np.ones(1008), 'x.num_batches_tracked': np.array(0)}
  np.savez(path, **ignored | plain_weights)
  assert inception.build(path).fingerprint == features.fingerprint
  np.savez(path, **plain_weights | {NAME: plain_weights[NAME] * 2.0})
  assert inception.build(path).fingerprint != features.fingerprint


NAME = 'Mixed_6b.branch1x1.bn.running_var'


@pytest.mark.parametrize(
  ('message', 'name', 'array'),
  [
    (r'another network: fc\.weight has shape \(1000, 2048\)', 'fc.weight', np.ones((1000, 2048))),
    (r'lacks 1 of .*fc\.weight', 'fc.weight', None),
    ('has 1 others .*AuxLogits', 'AuxLogits.fc.weight', np.ones(3)),
    (f'{NAME} .* cannot be weights', NAME, np.full(192, -1.0)),
    (f'{NAME} .* cannot be weights', NAME, np.full(192, np.nan)),
    (f'{NAME} .* cannot be weights', NAME, np.full(192, 1)),
  ],
)
def test_another_networks_weights_are_refused(
  plain_weights: dict[str, np.ndarray],
  message: str,
  name: str,
  array: np.ndarray | None,
  monkeypatch: pytest.MonkeyPatch,
  tmp_path: Path,
) -> None:
  weights = {n: a for n, a in (plain_weights | {name: array}).items() if a is not None}
  monkeypatch.setattr(inception, 'load_arrays', lambda _: weights)
  with pytest.raises(ValueError, match=message):
    inception.build(tmp_path / 'weights.pth')


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
  path = tmp_path / 'weights.npz'
  np.savez(path, a=np.ones(1000))
  with pytest.raises(ValueError, match='another network: it lacks 471 of 471'):
    inception.build(path)
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(ValueError, match='cannot be read as'):
    inception.build(path)
  np.savez(path, a=np.array([{}], dtype=object))
  with pytest.raises(ValueError, match='cannot be read as'):
    inception.build(path)
  with pytest.raises(ValueError, match=r'no file .*inception-2015-12-05-6726825d\.pth'):
    inception.build(tmp_path / 'none.pth')
