"""The report's path: each part against torch, the whole against torchvision's network."""

from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxgen.metrics import s4_legacy
from jaxgen.metrics.inception_network import SIDE


def images(seed: int, count: int, side: int = 28) -> np.ndarray:
  return np.random.default_rng(seed).integers(0, 256, (count, side, side, 1)).astype(np.uint8)


def random_weights() -> dict[str, np.ndarray]:
  """By torchvision's names, with those that this path does not use."""
  generator = np.random.default_rng(0)
  like = jax.ShapeDtypeStruct((2, SIDE, SIDE, 3), np.float32)
  shapes = jax.eval_shape(s4_legacy.NETWORK.init, jax.random.key(0), like)['params']
  weights = {}
  for name, array in flatten_dict(shapes, sep='.').items():
    if name.endswith('.kernel'):
      deviation = np.sqrt(2.0 / np.prod(array.shape[:3]))
      kernel = generator.normal(0.0, deviation, array.shape).transpose(3, 2, 0, 1)
      weights[name.replace('.kernel', '.weight')] = kernel.astype(np.float32)
    else:
      low, high = (0.5, 1.5) if name.endswith('weight') else (-0.2, 0.2)
      weights[name] = generator.uniform(low, high, array.shape).astype(np.float32)
  return weights


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
  weights = random_weights()
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


@pytest.mark.parametrize(('real', 'side'), [(True, 28), (False, 28), (False, 32)])
def test_prepares_as_torch_does(real: bool, side: int) -> None:
  torch = pytest.importorskip('torch', reason='torch is not installed (tests/peers.txt)')
  batch = images(1, 3, side)
  x = torch.from_numpy(batch).permute(0, 3, 1, 2)
  x = torch.nn.functional.interpolate(x if real else x.float(), size=(SIDE, SIDE), mode='bicubic')
  x = x.float().repeat(1, 3, 1, 1)
  low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
  x = ((x - low) / (high - low)).numpy().transpose(0, 2, 3, 1)
  deviation, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
  expected = x * (deviation / 0.5) + (mean - 0.5) / 0.5
  found = np.asarray(s4_legacy.prepare(batch, real))
  # torch resizes bytes by weights of few digits: some pixels come out a level apart.
  difference = np.abs(found - expected)
  assert difference.max() <= (1.01 / 255 if real else 1e-5)
  assert difference.mean() <= (0.01 / 255 if real else 1e-6)


@pytest.mark.slow
def test_agrees_with_torchvision_in_training_mode(tmp_path: Path) -> None:
  torch = pytest.importorskip('torch', reason='torch is not installed (tests/peers.txt)')
  torchvision = pytest.importorskip('torchvision', reason='torchvision is not installed')
  weights = random_weights()
  np.savez(tmp_path / 'weights.npz', **weights)
  peer = torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True)
  state = {name: torch.from_numpy(weight) for name, weight in weights.items()}
  assert not peer.load_state_dict(state, strict=False).unexpected_keys
  found: list[np.ndarray] = []
  peer.avgpool.register_forward_hook(lambda *call: found.append(call[2].flatten(1).numpy()))
  real, generated = images(2, 6), images(3, 6)
  for batch in (real, generated):
    x = torch.from_numpy(batch).permute(0, 3, 1, 2)
    x = torch.nn.functional.interpolate(x.float(), size=(SIDE, SIDE), mode='bicubic')
    x = x.repeat(1, 3, 1, 1)
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    with torch.no_grad():
      peer.train()((x - low) / (high - low))
  params = s4_legacy.parameters(tmp_path / 'weights.npz')
  ours = [np.asarray(s4_legacy.features(params, batch, False)) for batch in (real, generated)]
  for a, b in zip(ours, found, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(b).max())  # batch norm amplifies rounding
