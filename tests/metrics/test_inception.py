"""InceptionV3: its graph and resize against independent ones, and the files it accepts."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest

from jaxgen.metrics.features import inception
from jaxgen.metrics.inception_network import prepare, resize


def random_weights(seed: int) -> dict[str, np.ndarray]:
  """Weights of the right shapes that keep activations of order one through all layers."""
  generator = np.random.default_rng(seed)
  weights = {}
  for name, shape in inception.weight_shapes().items():
    if name.endswith('conv.weight'):
      deviation = np.sqrt(2.0 / np.prod(shape[1:]))
      weights[name] = generator.normal(0.0, deviation, shape)
    elif name == 'fc.weight':
      weights[name] = generator.normal(0.0, 0.1, shape)
    elif name.endswith(('bn.weight', 'running_var')):
      weights[name] = generator.uniform(0.5, 1.5, shape)
    else:
      weights[name] = generator.normal(0.0, 0.2, shape)
  return {name: weight.astype(np.float32) for name, weight in weights.items()}


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


@pytest.mark.parametrize('shape', [(28, 28), (32, 20), (400, 301)])
def test_resize_agrees_with_torch_fidelity(
  shape: tuple[int, int], torch_fidelity: Callable[[str], ModuleType]
) -> None:
  import torch

  peer = torch_fidelity('interpolate_compat_tensorflow')
  images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3)).astype(np.float32)
  expected = peer.interpolate_bilinear_2d_like_tensorflow1x(
    torch.from_numpy(images.transpose(0, 3, 1, 2)), size=(299, 299), align_corners=False
  )
  np.testing.assert_allclose(
    jax.jit(resize)(images), expected.numpy().transpose(0, 2, 3, 1), rtol=1e-6, atol=1e-4
  )


@pytest.mark.slow
def test_agrees_with_torch_fidelity_on_random_weights(
  torch_fidelity: Callable[[str], ModuleType], tmp_path: Path
) -> None:
  import torch

  weights = random_weights(0) | {'fc.bias': np.ones(1008, np.float32)}
  path = tmp_path / 'weights.pth'
  state = {name: torch.from_numpy(weight) for name, weight in weights.items()}
  torch.save(state, path)
  peer = torch_fidelity('feature_extractor_inceptionv3').FeatureExtractorInceptionV3(
    'peer', ['2048', 'logits_unbiased'], feature_extractor_weights_path=str(path)
  )
  images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
  features, logits = (part.numpy() for part in peer(torch.from_numpy(images).permute(0, 3, 1, 2)))
  ours = inception.build(path)
  extracted = ours.extract(images)
  scale = np.abs(features).max()
  np.testing.assert_allclose(extracted.features, features, rtol=1e-4, atol=1e-5 * scale)
  expected = np.exp(logits - logits.max(axis=1, keepdims=True))
  expected /= expected.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(extracted.probabilities, expected, rtol=1e-3, atol=1e-6)
  torch.save(state, path, _use_new_zipfile_serialization=False)
  assert inception.build(path).fingerprint == ours.fingerprint


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
