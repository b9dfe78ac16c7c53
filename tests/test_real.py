"""What real images score stands beside every number, under its protocol, and is measured once."""

from pathlib import Path

import numpy as np
import pytest

from jaxgen.evaluation import real
from jaxgen.evaluation.measure import Origin, Scores, score
from jaxgen.evaluation.protocol import Number, Protocol
from jaxgen.evaluation.references import Reference, Seen
from jaxgen.features import Extracted, Features
from jaxgen.metrics.frechet import frechet_distance, moments
from jaxgen.metrics.inception_score import inception_score

CLASSES = 4
ORIGIN = Origin('points')


def extract(images: np.ndarray) -> Extracted:
  raise AssertionError('features are at hand')


FEATURES = Features('classifier', 3, 'cafe' * 16, extract)


def points(seed: int, count: int, shift: float, sure: float) -> Reference:
  """A split whose features stand at `shift` and whose classes are claimed with this probability."""
  generator = np.random.default_rng(seed)
  labels = np.arange(count) % CLASSES
  probabilities = np.full((count, CLASSES), (1.0 - sure) / (CLASSES - 1))
  probabilities[np.arange(count), labels] = sure
  features = generator.normal(shift, 1.0, (count, 3)).astype(np.float32)
  seen = Seen(features, probabilities.astype(np.float32), f'{seed:016x}')
  return Reference(seen, labels)


@pytest.fixture
def against() -> dict[str, Reference]:
  """Splits that are not alike, so that it shows which of them was measured."""
  return {'test': points(0, 100, 0.0, 0.97), 'train': points(1, 460, 2.0, 0.4)}


def value(found: real.Real, metric: str, split: str) -> tuple[float, float | None, int]:
  (number,) = (
    n
    for n in found.numbers
    if (n.protocol.metric, n.protocol.split) == (f'{metric}_classifier', split)
  )
  return number.value, number.standard_error, number.sets


def test_sets_are_disjoint_and_as_many_as_there_may_be() -> None:
  for available, count, sets in (
    (460, 40, 10),
    (100, 40, 2),
    (99, 100, 0),
    (54_000, 10_000, 2),
    (10_000, 10_000, 1),
    (54_000, 5000, 4),
    (54_000, 1000, 10),
    (54_000, 6667, 2),  # of 20,000 images in all, at the most
  ):
    rows = real.disjoint(available, count)
    assert rows.shape == (sets, count)
    assert len(np.unique(rows)) == sets * count
    assert rows.size == 0 or rows.max() < available
  assert not np.array_equal(real.disjoint(100, 40)[0], np.arange(40))  # splits may be sorted


def test_every_number_of_samples_has_that_of_real_images(against: dict[str, Reference]) -> None:
  samples = points(2, 40, 1.0, 0.7).seen
  beside = {n.protocol.comparable for n in real.real(against, FEATURES, ORIGIN, 40).numbers}
  origin = ORIGIN._replace(seed=5, sampler='heun steps=9')
  made = score(samples, against, FEATURES, origin, labels=np.zeros(40, np.int32))
  assert {n.protocol.comparable for n in made.numbers} == beside
  assert len(beside) == len(made.numbers) == 24


def test_the_other_split_stands_in_for_the_samples(against: dict[str, Reference]) -> None:
  found = real.real(against, FEATURES, ORIGIN, 40)
  test, train = against['test'], against['train']
  for split, reference, held, sets in (('test', test, train, 10), ('train', train, test, 2)):
    rows = real.disjoint(len(held.seen.features), 40)
    distances = [
      frechet_distance(moments(reference.seen.features), moments(held.seen.features[part]))
      for part in rows
    ]
    mean, error, count = value(found, 'fid', split)
    assert (mean, count) == (pytest.approx(np.mean(distances)), sets)
    if sets == 10:  # their spread says more than the claims
      assert error == pytest.approx(np.std(distances, ddof=1))
    assert 10.0 < mean < 16.0  # three dimensions, shifted by two
  # Of the samples alone: the test images, which no classifier was trained on.
  assert value(found, 'inception_score', '')[0] > 2.0 > inception_score(train.seen[1]).mean
  assert value(found, 'unclaimed', '')[0] == 0.0
  right = test.seen.probabilities.argmax(axis=1) == test.labels
  assert value(found, 'label_accuracy', '')[0] == pytest.approx(right.mean())
  assert found.fid['test'].keys() == set('0123')
  assert found.fid['test']['2'][2] == 10


def test_each_class_is_held_against_its_own_split(against: dict[str, Reference]) -> None:
  """Samples made like the training images are far from the test images in every class."""
  made = score(points(2, 200, 2.0, 0.7).seen, against, FEATURES, ORIGIN).classes['fid']
  assert all(made['train'][label] < 2.0 < 8.0 < made['test'][label] for label in '0123')


def test_too_few_real_images_have_a_reason(against: dict[str, Reference]) -> None:
  found = real.real(against, FEATURES, ORIGIN, 200)
  assert found.reasons == {'train': 'the test split has 100 images, and 200 are needed'}
  assert {n.protocol.split for n in found.numbers} == {'test'}


def test_real_images_are_measured_once(
  against: dict[str, Reference], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
  measured: list[int] = []
  measure = real._measure

  def watched(*arguments: object) -> real.Real:
    measured.append(arguments[-1])
    return measure(*arguments)

  monkeypatch.setattr(real, '_measure', watched)

  def found(count: int = 40, origin: Origin = ORIGIN, **splits: Reference) -> real.Real:
    measured.clear()
    return real.real(against | splits, FEATURES, origin, count, tmp_path)

  first = found()
  assert measured == [40]
  assert found(origin=ORIGIN._replace(seed=3, sampler='ddim steps=5')) == first
  assert measured == []
  # Whatever decides the numbers is measured again.
  found(count=41)
  assert measured == [41]
  found(test=against['test']._replace(labels=(against['test'].labels + 1) % CLASSES))
  assert measured == [40]
  found(origin=ORIGIN._replace(resize='lanczos16'))
  assert measured == [40]
  monkeypatch.setattr(real, 'VERSION', real.VERSION + 1)
  found()
  assert measured == [40]
  for file in tmp_path.iterdir():
    np.savez(file, real='{}')
  assert found() == first
  assert measured == [40]


def test_a_classs_distance_has_the_deviation_of_its_sets() -> None:
  found = [Scores([], {'fid': {'test': distances}}, None) for distances in ({'0': 1.0, '1': 2.0},
    {'0': 4.0})]  # fmt: skip
  expected = {'0': [2.5, float(np.std([1.0, 4.0], ddof=1)), 2], '1': [2.0, 0.0, 1]}
  assert real._classes(found, 'test') == expected


def test_the_error_of_a_few_sets_is_the_root_mean_square_of_theirs() -> None:
  """Of many, it is their deviation."""
  protocol = Protocol('fid_classifier', 'cafe', 'points', 'test', 'beef', 80, 40, 'none', 3, '')
  few = [Number(protocol, value, error) for value, error in ((1.0, 3.0), (2.0, 4.0))]
  assert real._mean(few).protocol.seed == 0  # whichever set comes first
  assert real._mean(few).standard_error == pytest.approx(np.sqrt((9 + 16) / 2))
  many = [Number(protocol, float(value), 9.0) for value in range(5)]
  assert real._mean(many).standard_error == pytest.approx(np.std(range(5), ddof=1))
  assert (real._mean(many).value, real._mean(many).sets) == (2.0, 5)
  one, two = Number(protocol, 1.0), Number(protocol, 3.0)
  assert real._mean([one]).standard_error is None  # of which nothing is known
  assert real._mean([one, two]).standard_error == pytest.approx(np.sqrt(2.0))


def test_the_inception_scores_parts_follow_the_samples_seed() -> None:
  seen = points(0, 60, 0.0, 0.9).seen
  noisy = np.random.default_rng(0).dirichlet(np.full(CLASSES, 0.4), 60).astype(np.float32)
  split = {'test': points(1, 80, 0.0, 0.9)}
  for seed in (0, 3):
    found = score(seen._replace(probabilities=noisy), split, FEATURES, ORIGIN._replace(seed=seed))
    (number,) = (n for n in found.numbers if n.protocol.metric.startswith('inception_score'))
    assert number.value == inception_score(noisy, seed=seed).mean
  assert inception_score(noisy, seed=0) != inception_score(noisy, seed=3)
