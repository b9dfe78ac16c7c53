"""The report's path by hand, and what it cannot do; `test_peers` asks torch and torchvision."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgen.features import s4_legacy
from jaxgen.features.inception_network import SIDE
from tests.answers import legacy_weights


def images(seed: int, count: int, side: int = 28) -> np.ndarray:
  return np.random.default_rng(seed).integers(0, 256, (count, side, side, 1)).astype(np.uint8)


def test_bicubic_weights_by_hand() -> None:
  """A constant stays, an equal size changes nothing, and a step overshoots."""
  np.testing.assert_allclose(s4_legacy.bicubic(28, SIDE).sum(axis=1), 1.0, rtol=1e-6)
  np.testing.assert_allclose(s4_legacy.bicubic(7, 7), np.eye(7), atol=1e-7)
  step = s4_legacy.bicubic(8, 32) @ np.repeat([0.0, 1.0], 4)
  assert step.min() < -0.05
  assert step.max() > 1.05


def test_each_image_fills_the_range_before_the_shift() -> None:
  dim = (images(0, 2) // 4).astype(np.uint8)
  seen = np.asarray(s4_legacy.prepare(dim, real=True))
  assert seen.shape == (2, SIDE, SIDE, 3)
  for channel, (scale, shift) in enumerate([(0.458, -0.030), (0.448, -0.088), (0.450, -0.188)]):
    np.testing.assert_allclose(seen[..., channel].min((1, 2)), shift, atol=1e-3)
    np.testing.assert_allclose(seen[..., channel].max((1, 2)), scale + shift, atol=1e-3)


def test_what_cannot_be_computed_is_said(tmp_path: Path) -> None:
  path = tmp_path / 'weights.npz'
  weights = legacy_weights()
  np.savez(path, **weights)
  legacy = s4_legacy.build(path)
  with pytest.raises(ValueError, match='An image is constant'):
    legacy.distance(np.zeros((4, 28, 28, 1), np.uint8), images(0, 4))
  with pytest.raises(ValueError, match='convert them to uint8'):
    legacy.distance(images(0, 4).astype(np.float32), images(0, 4))
  name = 'Mixed_7c.branch_pool.conv.weight'
  np.savez(path, **weights | {name: weights[name][:, :5]})
  with pytest.raises(ValueError, match=r'another network: Mixed_7c.*inception_v3_google'):
    s4_legacy.build(path)
  np.savez(path, **{n: w for n, w in weights.items() if n != name})
  with pytest.raises(ValueError, match='is missing, not'):
    s4_legacy.build(path)


def test_the_number_depends_on_the_order_of_the_images() -> None:
  """As batch norm takes its statistics from each batch: the reason not to use this protocol."""
  x = np.random.default_rng(0).normal(size=(4, 5, 5, 3)).astype(np.float32) + np.arange(4)[
    :, None, None, None
  ].astype(np.float32)
  layer = s4_legacy.Normalised(2, (1, 1), 1, 'SAME')
  params = layer.init(jax.random.key(0), x[:2])
  together = np.asarray(layer.apply(params, x))[:2]
  alone = np.asarray(layer.apply(params, x[:2]))
  assert np.abs(together - alone).max() > 0.1
