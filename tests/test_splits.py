"""Which images and which parameters a number is of, from the command line to what is written."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as PillowImage

from jaxgen import configuration, objectives
from jaxgen.datasets import splits
from jaxgen.devices import parallel
from jaxgen.errors import UserError
from jaxgen.evaluation.held_out import Evaluation
from jaxgen.images import to_uint8
from jaxgen.main import main
from jaxgen.metrics.frechet import frechet_distance, moments
from jaxgen.objectives.base import Example, Image, Key, Label, Metrics, Params
from tests import toy
from tests.toy import (
  DATA,
  DECAY,
  SHAPE,
  START,
  STEPS,
  TEST,
  TRAIN,
  VALIDATION,
  command,
  halfway,
  pixel,
)


def trajectory(steps: int) -> tuple[float, float]:
  """The parameter and its average after so many updates on training images."""
  w = average = START
  for step in range(steps):
    w = 0.5 * (w + pixel(TRAIN))
    d = min(DECAY, (1 + step) / (10 + step))
    average = d * average + (1 - d) * w
  return w, average


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
  """The workdir of a run of that model on that data."""
  folder = tmp_path_factory.mktemp('splits')
  with toy.at_hand(folder):
    assert main(command(folder / 'run')) == 0
    yield folder / 'run'


def records(workdir: Path) -> dict[int, dict[str, float]]:
  """Step -> all numbers on record for it."""
  found: dict[int, dict[str, float]] = {}
  for line in (workdir / 'metrics.jsonl').read_text().splitlines():
    record = json.loads(line)
    found.setdefault(record['step'], {}).update(record)
  return found


def evaluated(workdir: Path, *overrides: str) -> dict[str, Any]:
  assert main([f'--workdir={workdir}', '--mode=evaluate', *overrides]) == 0
  return json.loads((workdir / 'evaluation.json').read_text())


def distance(split: splits.Split, samples: np.ndarray) -> float:
  """The Fréchet distance of samples to a split in pixels' features."""
  seen = [x.reshape(len(x), -1) / np.float32(255) for x in (split.images, samples)]
  return frechet_distance(*map(moments, seen))


def test_training_sees_training_images_and_validation_the_averaged_parameters(
  trained: Path,
) -> None:
  found = records(trained)
  for step in range(1, STEPS + 1):
    assert found[step]['train/loss'] == pytest.approx(pixel(TRAIN))
  for step in (2, 4):
    raw, average = trajectory(step)
    assert abs(raw - average) > 0.03, 'they must differ, for this test to tell anything'
    assert found[step]['validation/pixel'] == pytest.approx(pixel(VALIDATION), rel=1e-5)
    assert found[step]['validation/w'] == pytest.approx(average, rel=1e-5)
    assert not any(name.startswith('test') for name in found[step])
  with PillowImage.open(trained / 'figures' / 'seen.png') as sheet:
    levels = set(np.unique(np.asarray(sheet))) - {128}  # its border
  assert levels == {VALIDATION - 20, VALIDATION + 20}


def test_evaluation_sees_test_images_with_averaged_and_with_raw_parameters(trained: Path) -> None:
  found = evaluated(trained)
  raw, average = trajectory(STEPS)
  assert found['test_images'] == 64
  assert found['ema']['w'] == pytest.approx(average, rel=1e-5)
  assert found['raw']['w'] == pytest.approx(raw, rel=1e-5)
  for name in ('ema', 'raw'):
    assert found[name]['pixel'] == pytest.approx(pixel(TEST))
    mean, square = found[name]['noise'], found[name]['noise_squared']
    assert mean == pytest.approx(1 / 2, abs=0.15)  # 4 deviations of the mean of 64
    assert square - mean**2 == pytest.approx(1 / 12, abs=0.03), 'one noise for all images'
  averaged = evaluated(trained, '--config.evaluation.raw=False')
  assert averaged['ema'] == found['ema']
  assert averaged['ema_scores']['numbers'] == found['ema_scores']['numbers']
  assert not {'raw', 'raw_scores'} & averaged.keys()
  assert averaged['cost'].keys() == found['cost'].keys()


@pytest.mark.parametrize('parameters', ['ema', 'raw'])
def test_samples_are_of_the_parameters_that_are_asked_for(trained: Path, parameters: str) -> None:
  arguments = ['--mode=sample', f'--parameters={parameters}', '--num_samples=9']
  assert main([f'--workdir={trained}', *arguments]) == 0
  with np.load(trained / 'samples.npz', allow_pickle=False) as file:
    samples = file['samples']
  raw, average = trajectory(STEPS)
  expected = to_uint8(jnp.float32({'ema': average, 'raw': raw}[parameters]))
  assert (samples[:, 1, 1, 0] == expected).all()
  assert len(np.unique(samples[:, 0, 0, 0])) > 4, 'one noise for all samples'


def test_scores_are_of_the_samples_of_their_parameters_and_split(trained: Path) -> None:
  found = evaluated(trained)
  for parameters in ('ema', 'raw'):
    arguments = ['--mode=sample', f'--parameters={parameters}', '--num_samples=12']
    assert main([f'--workdir={trained}', *arguments]) == 0
    with np.load(trained / 'samples.npz', allow_pickle=False) as file:
      samples = file['samples']
    for split in ('test', 'train'):
      (value,) = (
        number['value']
        for number in found[f'{parameters}_scores']['numbers']
        if (number['protocol']['metric'], number['protocol']['split']) == ('fid_pixels', split)
      )
      assert value == pytest.approx(distance(getattr(DATA, split), samples), rel=1e-5)


def test_training_scores_averaged_parameters_with_latents_of_their_own(trained: Path) -> None:
  """A step that was chosen for the luck of its latents must be judged by others."""
  last = records(trained)[STEPS]
  (value,) = (value for name, value in last.items() if name.startswith('score/fid_pixels'))
  config = configuration.load(None, trained, [])
  _, average = trajectory(STEPS)

  def drawn(purpose: str) -> np.ndarray:
    model = Evaluation(halfway(), config, ())
    return np.concatenate(list(model.samples({'w': jnp.float32(average)}, 12, purpose=purpose)))

  chosen, reported = drawn('select'), drawn('sample')
  assert value == pytest.approx(distance(DATA.train, chosen), rel=1e-5)
  assert np.mean(chosen[:, 0, 0, 0] == reported[:, 0, 0, 0]) < 0.2


def by_class(count: int) -> np.ndarray:
  """Images as a sorted folder gives them: ten classes one after the other, of ten grey levels."""
  levels = np.repeat(np.arange(10), count // 10).astype(np.uint8)
  return np.broadcast_to(25 * levels.reshape(-1, 1, 1, 1), (count, *SHAPE)).copy()


@pytest.mark.parametrize(('count', 'size'), [(3000, 1000), (1000, 100), (7, 3)])
def test_a_subset_is_spread_over_all_rows(count: int, size: int) -> None:
  rows = splits.subset(count, size)
  assert len(rows) == size
  assert (np.diff(rows) > 0).all()
  assert 0 <= rows[0] <= rows[-1] < count
  np.testing.assert_array_equal(rows, splits.subset(count, size))
  assert set(splits.subset(count, size // 2)) <= set(rows)
  np.testing.assert_array_equal(splits.subset(count, count + 5), np.arange(count))
  if count >= 1000:
    share = np.bincount(rows * 10 // count, minlength=10) / size
    assert (abs(share - 0.1) < 4 * np.sqrt(0.09 / size)).all()


def test_few_validation_images_are_of_all_classes(trained: Path) -> None:
  config = configuration.load(None, trained, [])
  images, params = splits.Split(by_class(1000)), {'w': jnp.float32(0.0)}
  model = Evaluation(halfway(), config, ())
  everything = model.measure(params, images)
  some = model.measure(params, images, 200)
  assert everything['pixel'] == pytest.approx(pixel(112.5), abs=1e-6)
  assert some['pixel'] == pytest.approx(pixel(112.5), abs=4 * 72 / 127.5 / np.sqrt(200))
  shown = model.figures(params, images)['seen'][0]
  assert len(shown) == 8
  assert len(np.unique(shown)) > 3, 'all images of a figure are of the first classes'


def test_each_image_comes_with_its_own_label(trained: Path) -> None:
  def told(params: Params, example: Example, key: Key) -> Metrics:
    grey = jnp.round((example.image.mean() + 1.0) * 127.5)
    return {'right': jnp.float32(grey == 25 * example.label)}

  config = configuration.load(None, trained, [])
  order = np.random.default_rng(0).permutation(200)
  sorted_by_class = splits.Split(by_class(200), np.repeat(np.arange(10), 20))
  model = Evaluation(halfway()._replace(evaluate=told), config, ())
  for size in (None, 50):
    assert model.measure({'w': jnp.float32(0.0)}, sorted_by_class.take(order), size) == {'right': 1}


def test_the_noise_of_an_image_is_that_of_its_row(trained: Path) -> None:
  """However few are looked at."""

  def masked(params: Params, example: Example, key: Key) -> Metrics:
    return {'noise': jax.random.uniform(key) * (example.image.mean() > 0)}

  config = configuration.load(None, trained, [])
  images = np.zeros((60, *SHAPE), np.uint8)
  images[splits.subset(60, 20)[13]] = 255
  model = Evaluation(halfway()._replace(evaluate=masked), config, ())
  params, split = {'w': jnp.float32(0.0)}, splits.Split(images)
  assert 60 * model.measure(params, split)['noise'] == pytest.approx(
    20 * model.measure(params, split, 20)['noise']
  )


def test_samples_that_are_not_finite_are_neither_shown_nor_scored(
  trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  """One pixel of one in fifty is no number."""

  def broken(params: Params, label: Label, key: Key) -> Image:
    noise = jax.random.uniform(key)
    return jnp.full(SHAPE, noise).at[1, 0, 0].set(jnp.where(noise < 0.02, jnp.nan, noise))

  model = halfway()._replace(sample=broken)
  config = configuration.load(None, trained, [])
  keys = parallel.image_keys(parallel.purpose_key(config.seed, 'sample'), jnp.arange(200))
  bad = np.asarray(jax.vmap(jax.random.uniform)(keys)) < 0.02
  start = bad.argmax() // 16 * 16  # of the first such among the 16 that are drawn at once
  assert start > 0
  monkeypatch.setattr(objectives, 'find_objective', lambda *_: model)
  before = {path: path.stat().st_mtime_ns for path in trained.iterdir()}
  for arguments in (
    ['--mode=sample', '--num_samples=200'],
    ['--mode=evaluate', '--config.evaluation.num_samples=200'],
  ):
    capsys.readouterr()
    assert main([f'--workdir={trained}', *arguments]) == 2
    error = capsys.readouterr().err
    count = bad[start : start + 16].sum()
    assert f'{count} of the samples {start} to {start + 15} are not finite' in error
    assert f'the first is sample {bad.argmax()}: choose another sampler' in error
    assert {path: path.stat().st_mtime_ns for path in trained.iterdir()} == before
  many = '--config.evaluation.training_samples=200'
  assert main([*command(tmp_path / 'run'), many]) == 2
  assert 'are not finite' in capsys.readouterr().err
  assert not (tmp_path / 'run' / 'figures' / 'samples.png').exists()

  def torn(params: Params, examples: Example, key: Key) -> jax.Array:
    return examples.image[None].at[0, 0].set(jnp.inf)

  model = Evaluation(halfway()._replace(figures={'torn': torn}), config, ())
  with pytest.raises(UserError, match="the figure 'torn' is not finite"):
    model.figures({}, DATA.test)


def test_speed_does_not_count_compilation_or_evaluations(
  trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  """The clock is put on by 1000 s in each."""
  build, figures, clock, late = parallel.train_steps, Evaluation.figures, time.monotonic, [0.0]

  def slow(*arguments: object, **options: object) -> Callable[..., object]:
    update, calls = build(*arguments, **options), iter([1000.0])

    def steps(*batch: object) -> object:
      late[0] += 0.0 if isinstance(batch[1], jax.core.Tracer) else next(calls, 0.0)
      return update(*batch)

    steps.lower = update.lower
    return steps

  def evaluated(*arguments: object) -> object:
    late[0] += 1000.0
    return figures(*arguments)

  monkeypatch.setattr(time, 'monotonic', lambda: clock() + late[0])
  monkeypatch.setattr(parallel, 'train_steps', slow)
  monkeypatch.setattr(Evaluation, 'figures', evaluated)
  assert main([*command(tmp_path / 'run'), '--config.log_every=2']) == 0
  assert late[0] == 3000.0
  found = records(tmp_path / 'run')
  assert found[2]['images_per_second'] > 0.1, 'the step that compiled counts'
  assert found[4]['images_per_second'] > 0.1, 'the evaluation counts'
  (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith('step 2/4'))
  assert 'images/s' in line
  assert 'MFU' not in line, 'the model has no products'
  assert 'model_flops_utilization' not in found[2]

  assert main(command(tmp_path / 'other')) == 0
  found = records(tmp_path / 'other')
  assert 'images_per_second' not in found[1], 'the only step so far compiled'
  (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith('step 1/4'))
  assert 'ETA' not in line
