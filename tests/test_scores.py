"""Scores behave as they must on real digits, and bad samples are refused with the way out."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pytest
from PIL import Image

from jaxgen import configuration, data, foreign, references, scores
from jaxgen.metrics import s4_legacy
from jaxgen.metrics.features import Features, classifier, pixels

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope='module')
def digits() -> data.Dataset:
  """Disjoint halves of the real digits as training and test images."""
  section = ml_collections.ConfigDict(
    {'name': 'digits', 'image_size': 0, 'channels': 0, 'memory_limit': 2**31}
  )
  section.validation_fraction, section.test_fraction = 0.05, 0.45
  return data.load(section)


@pytest.fixture(scope='module')
def features(digits: data.Dataset) -> Features:
  """Of a classifier with few features, so that few digits suffice for a covariance."""
  recipe = classifier.Recipe(dimension=16, steps=250)
  return classifier.build(*digits.train, *digits.test, recipe=recipe)


@pytest.fixture(scope='module')
def against(digits: data.Dataset, features: Features) -> dict[str, references.Reference]:
  return references.references(digits, features)


Scored = Callable[[np.ndarray], scores.Scores]


@pytest.fixture(scope='module')
def scored(features: Features, against: dict[str, references.Reference]) -> Scored:
  def run(images: np.ndarray) -> scores.Scores:
    seen = references.look(np.array_split(images, 3), [features])[0]
    return scores.score(seen, against, features, dataset='digits')

  return run


def value(found: scores.Scores, metric: str, split: str = 'test') -> float:
  """The one value of a metric of the classifier against a split."""
  (number,) = (
    n
    for n in found.numbers
    if (n.protocol.metric, n.protocol.split) == (f'{metric}_classifier', split)
  )
  assert number.value is not None, number.reason
  return number.value


def noisy(images: np.ndarray, amount: float) -> np.ndarray:
  noise = np.random.default_rng(0).normal(size=images.shape, scale=amount)
  return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def test_real_images_are_near_zero_and_noise_takes_them_away(
  digits: data.Dataset, scored: Scored
) -> None:
  found = [scored(noisy(digits.test.images, amount)) for amount in (0.0, 20.0, 40.0, 80.0)]
  for metric in ('fid', 'kid'):
    distances = [value(f, metric) for f in found]
    assert distances == sorted(distances)
    assert value(found[0], metric, 'train') < 0.1 * value(found[-1], metric, 'train')
  # Of a set with itself: exactly zero, and everything covered.
  assert value(found[0], 'fid') < 1e-6
  assert [value(found[0], m) for m in ('precision', 'recall', 'coverage')] == [1.0, 1.0, 1.0]
  assert value(found[-1], 'precision') < 0.5
  assert value(found[-1], 'unclaimed', '') > value(found[0], 'unclaimed', '')


def test_both_references_are_reported_and_never_mixed(digits: data.Dataset, scored: Scored) -> None:
  found = scored(digits.train.images)
  assert value(found, 'fid', 'train') < 1e-6 < value(found, 'fid', 'test')
  splits = {n.protocol.split for n in found.numbers if n.protocol.metric == 'kid_classifier'}
  assert splits == {'test', 'train'}
  assert all(n.standard_error > 0 for n in found.numbers if n.protocol.metric == 'kid_classifier')
  # Copies of the training images are caught.
  assert value(found, 'distance_ratio', 'train') == 0.0
  assert value(found, 'authenticity', 'train') == 0.0
  np.testing.assert_array_equal(found.neighbours[:, 0], np.arange(len(found.neighbours)))


def test_removed_classes_are_named(digits: data.Dataset, scored: Scored) -> None:
  kept = digits.test.images[~np.isin(digits.test.labels, (3, 7))]
  found = scored(kept)
  assert found.classes['missing'] == {'test': [3, 7], 'train': [3, 7]}
  assert value(found, 'missing_classes') == 2
  whole = scored(digits.test.images)
  assert whole.classes['missing'] == {'test': [], 'train': []}
  assert value(found, 'class_kl_nats') > 10 * value(whole, 'class_kl_nats')
  assert value(found, 'class_entropy_nats', '') < value(whole, 'class_entropy_nats', '')
  assert value(whole, 'class_entropy_nats', '') == pytest.approx(math.log(10), abs=0.01)
  assert 5 < value(whole, 'inception_score', '') <= 10
  assert set(whole.classes['fid']['test']) == set(map(str, range(10)))
  assert '3' not in found.classes['fid']['test']
  assert 'class 3' in found.classes['fid_reasons']['test']['3']
  json.dumps(scores.joined([[found]]))


def test_few_samples_leave_numbers_out_with_the_reason(
  digits: data.Dataset, scored: Scored
) -> None:
  found = scored(digits.test.images[:12])
  reasons = {n.protocol.metric: n.reason for n in found.numbers if n.value is None}
  assert 'at least 17 are needed' in reasons['fid_classifier']
  assert 'precision_classifier' not in reasons


def test_a_collapsed_model_keeps_the_numbers_that_mean_something(
  digits: data.Dataset, scored: Scored
) -> None:
  found = scored(np.repeat(digits.test.images[:1], 50, axis=0))
  reasons = {n.protocol.metric: n.reason for n in found.numbers if n.value is None}
  assert 'collapsed to one image' in reasons['fid_classifier']
  assert value(found, 'missing_classes') == 9


def test_one_reference_does(digits: data.Dataset, features: Features, against: Any) -> None:
  seen = references.look([digits.test.images], [features])[0]
  only = scores.score(seen, {'train': against['train']}, features, dataset='digits')
  both = scores.score(seen, against, features, dataset='digits')
  assert {n.protocol.split for n in only.numbers} == {'train', ''}
  values = {str(n.protocol): n.value for n in both.numbers}
  assert all(values[str(n.protocol)] == n.value for n in only.numbers)


def test_several_seeds_give_mean_and_deviation(digits: data.Dataset, scored: Scored) -> None:
  halves = [scored(part) for part in np.array_split(digits.test.images[:400], 2)]
  sets = [
    [
      found._replace(
        numbers=[n._replace(protocol=n.protocol._replace(seed=seed)) for n in found.numbers]
      )
    ]
    for seed, found in enumerate(halves)
  ]
  found = scores.joined(sets)
  (mean,) = (
    m for m in found['means'] if m['protocol'].startswith('fid') and '/test' in m['protocol']
  )
  assert mean['protocol'] == 'fid_classifier@v1[digits/test n=200 seeds=0,1]'
  a, b = (value(half, 'fid') for half in halves)
  assert mean['mean'] == pytest.approx((a + b) / 2)
  assert mean['deviation'] == pytest.approx(abs(a - b) / math.sqrt(2))
  assert len(found['numbers']) == sum(len(half.numbers) for half in halves)
  assert 'means' not in scores.joined(sets[:1])


def test_without_labels_class_numbers_are_left_out(
  digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  bare = data.Dataset(*(split._replace(labels=None) for split in digits))
  (chosen,), reason = references.kinds(bare)
  assert chosen.name == 'pixels'
  assert reason == references.NO_LABELS
  seen = references.look([bare.test.images], [chosen])[0]
  found = scores.score(seen, references.references(bare, chosen), chosen, dataset='digits')
  assert found.classes == {'reason': 'the dataset has no labels'}
  assert not any('class_' in n.protocol.metric for n in found.numbers)
  assert not list(tmp_path.iterdir())


@pytest.fixture
def run(
  features: Features,
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
  tmp_path: Path,
) -> Callable[[Path], tuple[int, str, str]]:
  """The command line on digits, with features that are at hand."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(scores, 'kinds', lambda *_: ([features], ''))

  def command(samples: Path) -> tuple[int, str, str]:
    code = foreign.main([f'--samples={samples}', '--data=digits'])
    return code, *capsys.readouterr()

  return command


def test_foreign_samples_are_scored(digits: data.Dataset, run: Any, tmp_path: Path) -> None:
  np.savez(tmp_path / 'theirs.npz', digits.test.images[:100, ..., 0])
  (tmp_path / 'folder').mkdir()
  for i, image in enumerate(digits.test.images[:100]):
    Image.fromarray(image[..., 0]).save(tmp_path / 'folder' / f'{i:03d}.png')
  outputs = [run(tmp_path / name) for name in ('theirs.npz', 'folder')]
  assert [code for code, _, _ in outputs] == [0, 0]
  found = json.loads(outputs[0][1])
  assert found == json.loads(outputs[1][1])
  names = {n['protocol']['name'] for n in found['scores']['numbers']}
  assert 'fid_classifier@v1[digits/test n=100 seed=0]' in names
  assert found['features'][0]['accuracy'] > 0.9


IMAGES = np.arange(64 * 40, dtype=np.uint8).reshape(40, 8, 8, 1)


@pytest.mark.parametrize(
  ('array', 'words'),
  [
    (IMAGES[:, :5], ['(5, 8, 1)', '(8, 8, 1)', 'resize']),
    (IMAGES.astype(np.float32), ['float32 from 0.0 to 255.0', 'uint8']),
    (np.full((40, 8, 8, 1), np.nan), ['float64', 'uint8']),
    (IMAGES[:16], ['16 images', 'at least 17']),
    (np.zeros((40, 8, 8, 1), np.uint8), ['all 40 images are the same']),
    (np.zeros((0, 8, 8, 1), np.uint8), ['(0, 8, 8, 1)']),
    (IMAGES[0, 0], ['(8, 1)', '(N, H, W, C)']),
    (np.array([{'code': 'run me'}], dtype=object), ['cannot be read', 'pickle']),
  ],
  ids=['shape', 'float', 'nan', 'few', 'constant', 'empty', 'flat', 'pickled'],
)
def test_bad_samples(array: np.ndarray, words: list[str], run: Any, tmp_path: Path) -> None:
  np.savez(tmp_path / 'bad.npz', samples=array)
  code, out, error = run(tmp_path / 'bad.npz')
  assert (code, out) == (2, '')
  assert error.startswith('jaxgen: ')
  assert error.count('\n') == 1
  for word in words:
    assert word in error


def test_files_that_hold_no_samples(run: Any, tmp_path: Path) -> None:
  (tmp_path / 'torn.npz').write_bytes(b'PK\x03\x04 torn')
  (tmp_path / 'text.npz').write_text('no archive')
  (tmp_path / 'empty').mkdir()
  np.save(tmp_path / 'one.npy', IMAGES)
  np.savez(tmp_path / 'two.npz', a=IMAGES, b=IMAGES)
  for name, word in {
    'missing.npz': 'no such file',
    'torn.npz': 'cannot be read',
    'text.npz': 'cannot be read',
    'empty': 'holds no .png',
    'one.npy': 'savez',
    'two.npz': 'holds a, b',
  }.items():
    code, _, error = run(tmp_path / name)
    assert code == 2, name
    assert word in error, error
    assert error.count('\n') == 1, error


def test_pixels_of_other_images_have_another_fingerprint() -> None:
  assert pixels.build((8, 8, 1)).fingerprint != pixels.build((16, 16, 1)).fingerprint


def test_the_legacy_distance_stands_beside_the_others(
  digits: data.Dataset, features: Features, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(scores, 'kinds', lambda *_: ([features], ''))
  called: list[tuple[int, int]] = []

  def distance(real: np.ndarray, made: np.ndarray) -> float:
    called.append((len(real), len(made)))
    return 12.5

  legacy = s4_legacy.Legacy(distance, 'cafe' * 16)
  monkeypatch.setattr(s4_legacy, 'build', lambda _: legacy)
  config = configuration.load(str(ROOT / 'experiments/vae.py'), None, [])
  config.evaluation.s4_legacy_weights = 'weights.pth'
  found = scores.Scorer(digits, config, ('test', 'train')).score([digits.test.images[:100]], seed=3)
  assert called == [(len(digits.test.images), 100)]
  assert str(found[0].numbers[-1].protocol) == 's4_legacy@v1[digits/test n=100 seed=3]'
  assert found[0].numbers[-1].value == 12.5
