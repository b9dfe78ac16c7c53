"""What is said of things on their way, and of a finished evaluation."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxgen import progress
from jaxgen.evaluation.protocol import Number, Protocol
from jaxgen.evaluation.summary import table
from jaxgen.features import classifier
from jaxgen.features.fitting import Recipe


class Clock:
  """Seconds that pass only when they are told to."""

  def __init__(self) -> None:
    self.now = 1000.0

  def monotonic(self) -> float:
    return self.now

  def items(self, *seconds: float) -> Iterator[np.ndarray]:
    """Ten things at a time, each of which takes so long."""
    for number, taken in enumerate(seconds):
      self.now += taken
      yield np.arange(10 * number, 10 * number + 10)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
  clock = Clock()
  monkeypatch.setattr(progress, 'time', clock)
  return clock


def test_the_time_to_go_leaves_out_what_compiled(
  clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
  passed = list(progress.follow(clock.items(500.0, 30.0, 30.0, 0.1), 40, 'raw'))
  np.testing.assert_array_equal(np.concatenate(passed), np.arange(40))
  assert capsys.readouterr().err.splitlines() == [
    'raw: 10 of 40 samples',
    'raw: 20 of 40 samples  ETA 1:00',
    'raw: 30 of 40 samples  ETA 0:30',
  ]


def test_lines_in_a_file_are_sparse(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
  """None of what is short, and few of what is long."""
  list(progress.follow(clock.items(*[0.1] * 90), 900, 'short'))
  assert capsys.readouterr().err == ''
  list(progress.follow(clock.items(*[60.0] * 1000), 10_000, 'long', 'steps'))
  lines = capsys.readouterr().err.splitlines()
  assert 8 <= len(lines) <= 12
  assert re.fullmatch(r'long: \d+ of 10000 steps  ETA \d+:\d\d:\d\d', lines[3])


def test_a_terminal_shows_one_bar_and_clears_it(
  clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(progress.sys.stderr, 'isatty', lambda: True)
  monkeypatch.setenv('COLUMNS', '60')
  list(progress.follow(clock.items(5.0, 1.0, 0.1, 1.0), 40, 'raw'))
  *states, last = capsys.readouterr().err.split('\r\033[K')[1:]
  assert [state.count('#') for state in states] == [0, 6, 12, 24]
  assert all(len(state) < 60 and '\n' not in state for state in states)
  assert states[2].endswith('raw: 20 of 40 samples  ETA 0:02')
  assert last == ''


def test_a_bar_goes_where_the_work_is_interrupted(
  clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(progress.sys.stderr, 'isatty', lambda: True)
  followed = progress.follow(clock.items(1.0, 1.0), 20, 'raw')
  next(followed)
  assert capsys.readouterr().err.endswith('raw: 0 of 20 samples')
  followed.close()
  assert capsys.readouterr().err.endswith('\r\033[K')


def test_few_images_are_not_looked_at_for_ever() -> None:
  """The datasets whose classifiers come with jaxgen are trained on as they were."""
  assert Recipe().bounded(315).steps == 300
  assert Recipe().bounded(64).steps == 100
  for images in (1438, 60_000):
    assert Recipe().bounded(images) == Recipe()


def test_training_a_classifier_is_announced_with_the_way_around_it(
  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
  used = []

  def trained(network: object, recipe: Recipe, *_: object) -> object:
    used.append(recipe)
    raise KeyboardInterrupt

  monkeypatch.setattr(classifier, 'train', trained)
  images = np.arange(20 * 64, dtype=np.uint16).reshape(20, 8, 8, 1).astype(np.uint8)
  labels = np.arange(20) % 2
  with pytest.raises(KeyboardInterrupt):
    classifier.build(images, labels, images, labels, folder=tmp_path)
  assert used == [Recipe(steps=100)]
  said = capsys.readouterr().err
  assert 'these 20 images' in said
  assert 'in 100 steps of 20 images' in said
  assert '--config.evaluation.num_samples=0' in said


def number(metric: str, value: float | None, error: float | None = None, seed: int = 0) -> dict:
  split = '' if metric.startswith('inception') else 'test'
  made = Protocol(f'{metric}_classifier', 'f', 'digits', split, 'r', 9, 100, 'none', seed)
  return Number(made, value, error, None if value else 'none').to_json()


def test_an_evaluation_is_a_table_of_about_ten_lines() -> None:
  means = {f'mean_{k}': k + 0.25 for k in range(7)}
  numbers = [
    *(number('fid', 10.0 + 2 * seed, 0.5, seed) for seed in (0, 1)),
    *(number(name, 0.5, 0.01) for name in ('kid', 'precision', 'recall', 'density')),
    number('missing_classes', None),
  ]
  train = json.loads(json.dumps(numbers[:1]).replace('"test"', '"train"'))
  real = {'numbers': [number('fid', 1.0, 0.125), number('inception_score', 9.0)]}
  results = {
    'step': 20,
    'test_images': 359,
    'evaluation': {'num_samples': 100},
    'ema': means,
    'raw': {name: value + 1 for name, value in means.items()},
    'ema_scores': {'numbers': train + numbers, 'real': real},
    'raw_scores': {'numbers': numbers[1:2]},
    'no_classifier': 'too small',
    'cost': {
      'parameters': 12345,
      'network_evaluations_per_sample': 50,
      'seconds_per_1000_samples': 2.0,
    },
  }
  lines = [re.sub(' +', ' ', line).strip() for line in table(results).splitlines()]
  assert lines == [
    'averaged raw real images',
    *(f'mean_{k} {k}.25 {k + 1}.25' for k in range(4)),
    'fid_classifier 11 ± 1.4 12 ± 0.5 1 ± 0.12',
    'precision_classifier 0.5 ± 0.01',
    'recall_classifier 0.5 ± 0.01',
    'missing_classes_classifier –',
    'step 20, 359 test images, 100 samples against the test split, 50 network evaluations each, '
    '2 s for 1,000 of them; 12,345 parameters',
    'missing_classes_classifier: none',  # the reason
    'pixels stand in for the classifier: too small',
  ]
  averaged = {k: v for k, v in results.items() if not k.startswith('raw')}
  head, _, _, _, _, distance, *_ = table(averaged).splitlines()
  assert head.split() == ['averaged', 'real', 'images']
  assert re.sub(' +', ' ', distance) == 'fid_classifier 11 ± 1.4 1 ± 0.12'
  bare = {k: v for k, v in results.items() if 'scores' not in k and k != 'no_classifier'}
  bare['cost'] = {'parameters': 7, 'network_evaluations_per_sample': None}
  assert table(bare).splitlines()[-1] == 'step 20, 359 test images; 7 parameters'
