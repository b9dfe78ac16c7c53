"""Scores behave as they must on real digits, and bad samples are refused with the way out."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pytest

from jaxgen import configuration, datasets
from jaxgen.datasets import splits
from jaxgen.evaluation import measure, references, scores
from jaxgen.features import Features, classifier, pixels
from jaxgen.metrics.inception_score import inception_score

ROOT = Path(__file__).parent.parent
ORIGIN = measure.Origin('digits')


@pytest.fixture(scope='module')
def digits() -> splits.Dataset:
  """Disjoint halves of the real digits as training and test images."""
  return datasets.named('digits', validation_fraction=0.05, test_fraction=0.45)


@pytest.fixture(scope='module')
def features(digits: splits.Dataset) -> Features:
  """Of a classifier with few features, so that few digits suffice for a covariance."""
  recipe = classifier.Recipe(dimension=16, steps=250)
  return classifier.build(*digits.train[:2], *digits.test[:2], recipe=recipe)


@pytest.fixture(scope='module')
def against(digits: splits.Dataset, features: Features) -> dict[str, references.Reference]:
  return references.references(digits, features)


Scored = Callable[..., measure.Scores]  # images, and labels asked for


@pytest.fixture(scope='module')
def scored(features: Features, against: dict[str, references.Reference]) -> Scored:
  def run(images: np.ndarray, labels: np.ndarray | None = None) -> measure.Scores:
    seen = references.look(np.array_split(images, 3), [features])[0]
    return measure.score(seen, against, features, ORIGIN, labels=labels)

  return run


def value(found: measure.Scores, metric: str, split: str = 'test') -> float:
  """The one value of a metric of the classifier against a split."""
  of = f'{metric}_classifier', split
  (number,) = (n for n in found.numbers if (n.protocol.metric, n.protocol.split) == of)
  assert number.value is not None, number.reason
  return number.value


def noisy(images: np.ndarray, amount: float) -> np.ndarray:
  noise = np.random.default_rng(0).normal(size=images.shape, scale=amount)
  return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def test_real_images_are_near_zero_and_noise_takes_them_away(
  digits: splits.Dataset, scored: Scored
) -> None:
  found = [scored(noisy(digits.test.images, amount)) for amount in (0.0, 20.0, 40.0, 120.0)]
  for metric in ('fid', 'kid'):
    distances = [value(f, metric) for f in found]
    assert distances == sorted(distances)
    assert value(found[0], metric, 'train') < 0.1 * value(found[-1], metric, 'train')
  # Of a set with itself: exactly zero, and everything covered.
  assert value(found[0], 'fid') < 1e-6
  assert [value(found[0], m) for m in ('precision', 'recall', 'coverage')] == [1.0, 1.0, 1.0]
  assert value(found[-1], 'precision') < 0.5
  assert value(found[-1], 'unclaimed', '') > value(found[0], 'unclaimed', '')


def test_both_references_are_reported_and_never_mixed(
  digits: splits.Dataset, scored: Scored
) -> None:
  found = scored(digits.train.images)
  assert value(found, 'fid', 'train') < 1e-6 < value(found, 'fid', 'test')
  splits = {n.protocol.split for n in found.numbers if n.protocol.metric == 'kid_classifier'}
  assert splits == {'test', 'train'}
  assert all(n.standard_error > 0 for n in found.numbers if n.protocol.metric == 'kid_classifier')
  # Copies of the training images are caught.
  assert value(found, 'distance_ratio', 'train') == 0.0
  assert value(found, 'authenticity', 'train') == 0.0
  np.testing.assert_array_equal(found.neighbours[:, 0], np.arange(len(found.neighbours)))


def test_removed_classes_are_named(digits: splits.Dataset, scored: Scored) -> None:
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


def test_a_class_that_one_split_lacks_costs_the_other_no_number(
  digits: splits.Dataset, features: Features, against: dict[str, references.Reference]
) -> None:
  seen, labels = against['test']
  kept = labels != 3
  fewer = seen._replace(features=seen.features[kept], probabilities=seen.probabilities[kept])
  without = against | {'test': references.Reference(fewer, labels[kept])}
  samples = references.look([digits.test.images], [features])[0]
  found = measure.score(samples, without, features, ORIGIN)
  (lost,) = (
    n
    for n in found.numbers
    if (n.protocol.metric, n.protocol.split) == ('missing_classes_classifier', 'test')
  )
  assert lost.value is None
  assert 'at least one image for each of the 10 classes' in lost.reason
  assert value(found, 'missing_classes', 'train') == 0
  assert value(found, 'class_entropy_nats', '') == pytest.approx(math.log(10), abs=0.01)
  assert sum(found.classes['histogram']) == len(digits.test.images)
  assert found.classes['missing'] == {'train': []}


def test_samples_of_another_class_than_was_asked_for_are_counted(
  digits: splits.Dataset, scored: Scored
) -> None:
  images, labels = digits.test.images, digits.test.labels
  obeyed = value(scored(images, labels), 'label_accuracy', '')
  assert 0.95 < obeyed < 1.0
  found = scored(images, np.where(labels == 3, 5, labels))  # every three was to be a five
  lost = obeyed - value(found, 'label_accuracy', '')
  assert lost == pytest.approx(np.mean(labels == 3), abs=0.02)
  for unknown in (None, np.full(len(labels), -1)):  # a model that takes no labels
    metrics = {number.protocol.metric for number in scored(images, unknown).numbers}
    assert metrics == {n.protocol.metric for n in found.numbers} - {'label_accuracy_classifier'}


def test_few_samples_leave_numbers_out_with_the_reason(
  digits: splits.Dataset, scored: Scored
) -> None:
  found = scored(digits.test.images[:12])
  reasons = {n.protocol.metric: n.reason for n in found.numbers if n.value is None}
  assert 'at least 17 are needed' in reasons['fid_classifier']
  assert 'precision_classifier' not in reasons


def test_a_collapsed_model_keeps_the_numbers_that_mean_something(
  digits: splits.Dataset, scored: Scored
) -> None:
  found = scored(np.repeat(digits.test.images[:1], 50, axis=0))
  reasons = {n.protocol.metric: n.reason for n in found.numbers if n.value is None}
  assert 'collapsed to one image' in reasons['fid_classifier']
  assert value(found, 'missing_classes') == 9


def test_one_reference_does(digits: splits.Dataset, features: Features, against: Any) -> None:
  seen = references.look([digits.test.images], [features])[0]
  only = measure.score(seen, {'train': against['train']}, features, ORIGIN)
  both = measure.score(seen, against, features, ORIGIN)
  assert {n.protocol.split for n in only.numbers} == {'train', ''}
  values = {str(n.protocol): n.value for n in both.numbers}
  assert all(values[str(n.protocol)] == n.value for n in only.numbers)


def test_several_seeds_give_mean_and_deviation(digits: splits.Dataset, scored: Scored) -> None:
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
  assert mean['protocol'].endswith(f' n=200 against {len(digits.test.images)} seeds=0,1]')
  a, b = (value(half, 'fid') for half in halves)
  assert mean['mean'] == pytest.approx((a + b) / 2)
  assert mean['deviation'] == pytest.approx(abs(a - b) / math.sqrt(2))
  assert len(found['numbers']) == sum(len(half.numbers) for half in halves)
  assert 'means' not in scores.joined(sets[:1])


def test_without_labels_class_numbers_are_left_out(
  digits: splits.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  bare = splits.Dataset(*(split._replace(labels=None) for split in digits))
  (chosen,), reason = references.kinds(bare)
  assert chosen.name == 'pixels'
  assert reason == references.NO_LABELS
  seen = references.look([bare.test.images], [chosen])[0]
  found = measure.score(seen, references.references(bare, chosen), chosen, ORIGIN)
  assert found.classes == {'reason': 'the dataset has no labels'}
  assert not any('class_' in n.protocol.metric for n in found.numbers)
  assert not list(tmp_path.iterdir())


def test_pixels_of_other_images_have_another_fingerprint() -> None:
  assert pixels.build((8, 8, 1)).fingerprint != pixels.build((16, 16, 1)).fingerprint


def scorer(
  digits: splits.Dataset, features: Features, monkeypatch: pytest.MonkeyPatch, *splits: str
) -> scores.Scorer:
  """Of these features, for a model with a sampler."""
  monkeypatch.setattr(scores, 'kinds', lambda *_: ([features], ''))
  config = configuration.load(str(ROOT / 'experiments/vae.py'), None, [])
  with config.unlocked():
    config.sampler = ml_collections.ConfigDict({'name': 'ddim', 'steps': 50, 'eta': 0.0})
  return scores.Scorer(digits, config, splits)


def test_the_sampler_is_part_of_every_protocol(
  digits: splits.Dataset, features: Features, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  found = scorer(digits, features, monkeypatch, 'train').score([digits.test.images[:100]], 7)
  protocols = [number.protocol for number in found[0].numbers]
  assert {(p.sampler, p.seed) for p in protocols} == {('ddim eta=0 steps=50', 7)}
  assert str(protocols[0]).endswith(' seed=7 by ddim eta=0 steps=50]')
  assert found[0].real is None  # for want of the test split; training does not wait for it
  assert 'real' not in scores.joined([found])


def test_real_images_stand_beside(
  digits: splits.Dataset, features: Features, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  both = scorer(digits, features, monkeypatch, 'test', 'train')
  noise = noisy(digits.test.images[:150], 80.0)
  found = scores.joined([both.score([noise], 0)])
  real = {n['protocol']['name']: n for n in found['real']['numbers']}
  for number in found['numbers']:
    beside = real[number['protocol']['name'].replace(' by ddim eta=0 steps=50', '')]
    assert 'value' in beside
    if number['protocol']['metric'] == 'fid_classifier':
      assert beside['value'] < 0.5 * number['value']
      other = digits.train if number['protocol']['split'] == 'test' else digits.test
      assert beside['sets'] == len(other.images) // 150
  json.dumps(found)


def test_subsets_of_the_kernel_distance_follow_the_seed(
  digits: splits.Dataset, features: Features, against: dict[str, references.Reference]
) -> None:
  seen = references.look([digits.test.images[:105]], [features])[0]
  found = [
    measure.score(seen, against, features, ORIGIN._replace(seed=seed)).numbers for seed in (0, 1)
  ]
  (one, other) = (next(n for n in of if n.protocol.metric == 'kid_classifier') for of in found)
  assert one.value != other.value
  # What was used: ten subsets of ten samples, and of a tenth of the test images.
  tenth = len(digits.test.images) // 10
  assert (one.protocol.samples, one.protocol.reference_images) == (100, 10 * tenth)


def test_errors_are_of_one_set(
  digits: splits.Dataset, features: Features, against: dict[str, references.Reference]
) -> None:
  seen = references.look([digits.test.images[:200]], [features])[0]
  found = measure.score(seen, against, features, ORIGIN)
  errors = {n.protocol.metric: n.standard_error for n in found.numbers}
  order = np.random.default_rng(0).permutation(200)  # of the inception score's splits
  parts = np.split(seen.probabilities[order], 10)
  each = [inception_score(part, splits=1).mean for part in parts]
  expected = np.std(each, ddof=1) / math.sqrt(10)
  assert errors['inception_score_classifier'] == pytest.approx(expected, rel=1e-6)
  assert all(errors[f'{name}_classifier'] > 0.0 for name in ('fid', 'kid', 'precision', 'recall'))
