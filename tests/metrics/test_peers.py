"""Agreement with torch, torch-fidelity, torchvision and prdc, by their stored answers."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgen.features import inception, s4_legacy, torch_file
from jaxgen.features.inception_network import resize
from jaxgen.metrics.coverage import manifold_overlap
from jaxgen.metrics.frechet import frechet_distance, moments
from jaxgen.metrics.inception_score import inception_score
from jaxgen.metrics.kernel import kernel_distance, squared_mmd
from tests import answers, peers
from tests.answers import draw, images, stored


def test_answers_are_of_the_versions_that_may_be_installed() -> None:
  listed = (answers.FILE.parent / 'peers.txt').read_text()
  for version in stored('versions'):
    assert any(line.split('#')[0].strip() == version for line in listed.splitlines()), version
  assert set(answers.load()) == {'versions', *peers.ANSWERS}


@pytest.mark.parametrize('k', [3, 5])
def test_overlap_agrees_with_prdc(k: int) -> None:
  sets = draw(0, 700, 32), draw(1, 600, 32, scale=1.1)
  overlap = manifold_overlap(*sets, precision_neighbours=k, density_neighbours=k)
  assert overlap == pytest.approx(tuple(stored(f'overlap {k}')), rel=1e-4)


def test_precision_and_recall_agree_with_torch_fidelity() -> None:
  overlap = manifold_overlap(draw(0, 700, 32), draw(1, 600, 32, scale=0.8))
  assert overlap[:2] == pytest.approx(tuple(stored('precision_recall')), rel=1e-4)


def test_frechet_distance_agrees_with_torch_fidelity() -> None:
  a, b = draw(0, 2000, 64), draw(1, 2000, 64, scale=1.2)
  assert frechet_distance(moments(a), moments(b)) == pytest.approx(stored('frechet'), rel=1e-8)


def test_kernel_distance_agrees_with_torch_fidelity() -> None:
  x, y = draw(0, 400).astype(float), draw(1, 400, scale=1.2).astype(float)
  whole, parts = stored('kernel')
  assert squared_mmd(x, y) == pytest.approx(whole, rel=1e-9)
  assert kernel_distance(x, y, subset_size=200, seed=5).mean == pytest.approx(parts, rel=1e-9)


@pytest.mark.parametrize(('splits', 'row'), [(1, 0), (10, 1)])
def test_inception_score_agrees_with_torch_fidelity(splits: int, row: int) -> None:
  score = inception_score(answers.probabilities(), splits=splits, seed=0)
  assert score[:2] == pytest.approx(tuple(stored('score')[row]), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize('shape', answers.SIZES)
def test_resize_agrees_with_torch_fidelity(shape: tuple[int, int]) -> None:
  made = np.asarray(jax.jit(resize)(images(0, 1, *shape, 3).astype(np.float32)))[0]
  expected = stored('resized {} {}'.format(*shape))
  np.testing.assert_allclose(made[answers.SOME][:, answers.SOME], expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(('real', 'side'), answers.PREPARED)
def test_prepares_as_torch_does(real: bool, side: int) -> None:
  found = np.asarray(s4_legacy.prepare(images(1, 3, side, side, 1), real))
  found = found[:, answers.SOME][:, :, answers.SOME]
  # torch resizes bytes by weights of few digits: some pixels come out a level apart.
  difference = np.abs(found - stored(f'prepared {real} {side}'))
  assert difference.max() <= (1.01 / 255 if real else 1e-5)
  assert difference.mean() <= (0.01 / 255 if real else 1e-6)


@pytest.mark.parametrize('layout', ['zip', 'stream'])
def test_reads_what_torch_saved(layout: str, tmp_path: Path) -> None:
  path = tmp_path / 'weights.pth'
  path.write_bytes(stored(f'saved as {layout}').tobytes())
  read = torch_file.load(path)
  assert list(read) == list(answers.SAVED)
  for name, array in answers.SAVED.items():
    assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read[name], array)


@pytest.mark.slow
def test_inception_agrees_with_torch_fidelity_on_random_weights(tmp_path: Path) -> None:
  np.savez(tmp_path / 'weights.npz', **answers.inception_weights())
  extracted = inception.build(tmp_path / 'weights.npz').extract(images(1, 3, 32, 32, 3))
  features, logits = np.split(stored('inception'), [2048], axis=1)
  scale = np.abs(features).max()
  np.testing.assert_allclose(extracted.features, features, rtol=1e-4, atol=1e-5 * scale)
  expected = np.exp(logits - logits.max(axis=1, keepdims=True))
  expected /= expected.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(extracted.probabilities, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_the_legacy_network_agrees_with_torchvision_in_training_mode(tmp_path: Path) -> None:
  np.savez(tmp_path / 'weights.npz', **answers.legacy_weights())
  params = s4_legacy.parameters(tmp_path / 'weights.npz')
  for seed, expected in zip((2, 3), stored('legacy features'), strict=True):
    found = np.asarray(s4_legacy.features(params, images(seed, 6, 28, 28, 1), False))[:, ::8]
    # Batch norm amplifies rounding.
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
