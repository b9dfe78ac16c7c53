"""A number means the same for everybody: classifiers as files, trained on any number of cores."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxgen import classifiers, datasets
from jaxgen.configuration import load as load_config
from jaxgen.datasets import splits
from jaxgen.errors import UserError
from jaxgen.evaluation import references
from jaxgen.features import Features, classifier, classifier_file
from jaxgen.features.classifier import Recipe, WrongFileError
from jaxgen.metrics.frechet import frechet_distance, moments

from .conftest import Digits

QUICK = Recipe(steps=20, dimension=16)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache'


@pytest.fixture
def file(digits: Digits, tmp_path: Path) -> Path:
  """A quickly trained classifier of the digits."""
  path = tmp_path / 'file.npz'
  classifier_file.save(path, classifier.fit(*digits, QUICK))
  return path


def config(*overrides: str) -> splits.Dataset:
  return datasets.load(load_config('experiments/vae.py', None, list(overrides)).data)


def test_every_file_that_comes_with_jaxgen_is_the_one_in_the_table() -> None:
  names = {name for name, _ in classifier_file.SHIPPED.values()}
  folder = Path(classifier_file.__file__).parent / 'weights'
  assert names == {path.name for path in folder.iterdir()} == {'digits.npz', 'mnist.npz'}
  for training, (name, fingerprint) in classifier_file.SHIPPED.items():
    found = classifier_file.shipped(training)
    assert (found.training, found.fingerprint) == (training, fingerprint)
    assert found.version == classifier.CODE_VERSION
    assert found.accuracy > {'digits.npz': 0.98, 'mnist.npz': 0.992}[name]


def test_the_classifier_of_digits_is_not_trained(
  monkeypatch: pytest.MonkeyPatch, digit_features: Features
) -> None:
  """Whatever is held out for validation, and in whatever order images come."""
  monkeypatch.delattr(classifier, 'train')
  for dataset in (config(), config('--config.data.validation_fraction=0.3')):
    (features,), reason = references.kinds(dataset)
    assert (features.fingerprint, reason) == (digit_features.fingerprint, '')
  backwards = dataset._replace(
    train=dataset.validation,
    validation=dataset.train.take(np.arange(len(dataset.train.images))[::-1]),
  )
  assert references.kinds(backwards)[0][0].fingerprint == digit_features.fingerprint


def test_test_images_were_never_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
  """Another test split, or another label, asks for another classifier."""
  trained: list[int] = []

  def fit(images: np.ndarray, *rest: object) -> object:
    trained.append(len(images))
    raise ValueError('not in this test')

  monkeypatch.setattr(classifier, 'fit', fit)
  dataset = config('--config.data.test_fraction=0.5')
  references.kinds(dataset)
  assert trained == [len(dataset.train.images) + len(dataset.validation.images)]
  dataset = config()
  dataset.train.labels[0] = (dataset.train.labels[0] + 1) % 10
  references.kinds(dataset)
  assert len(trained) == 2


def test_the_accuracy_in_the_file_is_that_of_the_test_images(
  digits: Digits, digit_features: Features
) -> None:
  probabilities = digit_features.extract(digits.test_images).probabilities
  right = np.mean(probabilities.argmax(axis=1) == digits.test_labels)
  assert digit_features.accuracy == pytest.approx(right, abs=1e-12)


def test_a_damaged_or_exchanged_file_of_ours_is_an_error(
  monkeypatch: pytest.MonkeyPatch, digits: Digits, tmp_path: Path
) -> None:
  """And not a silent training, nor pixels in its place."""
  whole = (classifier_file._FOLDER / 'digits.npz').read_bytes()
  found = classifier_file.load(classifier_file._FOLDER / 'digits.npz')
  monkeypatch.setattr(classifier_file, '_FOLDER', tmp_path)
  path = tmp_path / 'digits.npz'
  flipped = bytearray(whole)
  flipped[len(whole) // 2] ^= 1
  for damage in (whole[:-1000], b'', bytes(flipped)):
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r'digits\.npz is damaged'):
      references.kinds(config())
  other = found.weights | {'params/Dense_1/bias': np.zeros(10, np.float32)}
  classifier_file.save(path, found._replace(weights=other))
  with pytest.raises(WrongFileError, match='is not the classifier that came with jaxgen'):
    classifier.build(*digits)
  path.unlink()
  with pytest.raises(WrongFileError, match='There is no file'):
    classifier.build(*digits)


def test_a_named_file_is_used_or_refused(file: Path, digits: Digits, tmp_path: Path) -> None:
  dataset = config()
  (features,), reason = references.kinds(dataset, classifier_weights=str(file))
  named = classifier_file.load(file)
  assert (features.fingerprint, features.dimension, reason) == (named.fingerprint, 16, '')

  def refused(words: str, dataset: splits.Dataset = dataset, path: Path = file) -> None:
    with pytest.raises(UserError, match=words) as raised:
      references.kinds(dataset, classifier_weights=str(path))
    assert str(raised.value).startswith('config.evaluation.classifier_weights')
    assert '\n' not in str(raised.value)

  refused('There is no file', path=tmp_path / 'none.npz')
  refused(r'takes images of shape \(8, 8, 1\), the data have \(16, 16, 1\)',
          config('--config.data.image_size=16'))  # fmt: skip
  refused('other images or labels', config('--config.data.test_fraction=0.3'))
  bare = splits.Dataset(*(split._replace(labels=None) for split in dataset))
  refused('no labels', bare)
  classifier_file.save(file, named._replace(version=named.version - 1))
  refused('is of version')
  file.write_bytes(file.read_bytes()[:-10])
  refused('is damaged')
  np.savez(file, a=np.ones(3))
  refused('no classifier made by')


def test_changed_content_is_noticed_even_in_a_whole_archive(file: Path) -> None:
  arrays = dict(np.load(file))
  arrays['params/Dense_1/bias'] += np.float16(0.5)
  np.savez(file, **arrays)
  with pytest.raises(WrongFileError, match='another SHA-256'):
    classifier_file.load(file)


def test_what_is_saved_is_what_is_used(file: Path, digits: Digits) -> None:
  """Weights are rounded before they are used, so that the file gives the same features."""
  trained = classifier.fit(*digits, QUICK)
  assert classifier_file.load(file).fingerprint == trained.fingerprint
  for name, array in classifier_file.load(file).weights.items():
    np.testing.assert_array_equal(array, trained.weights[name])


def test_the_fingerprint_is_of_the_weights(file: Path) -> None:
  trained = classifier_file.load(file)
  moved = trained.weights['params/Dense_1/bias'] + np.float32(2**-10)
  other = trained._replace(weights=trained.weights | {'params/Dense_1/bias': moved})
  assert other.fingerprint != trained.fingerprint
  assert trained._replace(version=trained.version + 1).fingerprint != trained.fingerprint
  assert trained._replace(accuracy=0.0).fingerprint == trained.fingerprint


def test_kept_by_content_and_trained_again_when_damaged(
  digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
  first = classifier.build(*digits, folder=tmp_path / 'kept', recipe=QUICK)
  (kept,) = (tmp_path / 'kept').iterdir()
  with monkeypatch.context() as patch:
    patch.delattr(classifier, 'train')
    second = classifier.build(*digits, folder=tmp_path / 'kept', recipe=QUICK)
  assert (second.fingerprint, second.accuracy) == (first.fingerprint, first.accuracy)
  whole = kept.read_bytes()
  flipped = bytearray(whole)
  flipped[len(whole) // 2] ^= 1
  for damage in (whole[: len(whole) // 2], bytes(flipped), b'not a zip file'):
    kept.write_bytes(damage)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
      third = classifier.build(*digits, folder=tmp_path / 'kept', recipe=QUICK)
    assert 'is damaged' in caplog.text
    assert third.fingerprint == first.fingerprint
    assert kept.read_bytes() == whole

  labels = np.where(digits.train_labels == 3, 5, digits.train_labels)
  changed = digits._replace(train_labels=labels)
  classifier.build(*changed, folder=tmp_path / 'kept', recipe=QUICK)
  (other,) = set(tmp_path.joinpath('kept').iterdir()) - {kept}
  other.write_bytes(whole)
  with caplog.at_level(logging.WARNING):
    classifier.build(*changed, folder=tmp_path / 'kept', recipe=QUICK)
  assert 'was trained on other images or labels' in caplog.text


def test_a_file_with_code_in_it_is_not_run(file: Path, tmp_path: Path) -> None:
  trap = tmp_path / 'sprung'

  class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
      return os.mkdir, (str(trap),)

  np.savez(file, **dict(np.load(file)) | {'training': np.array([Trap()], dtype=object)})
  with pytest.raises(WrongFileError, match='is damaged'):
    classifier_file.load(file)
  assert not trap.exists()


def test_the_command_writes_a_file_for_a_dataset(
  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
  fit = classifier.fit
  monkeypatch.setattr(classifier, 'fit', lambda *sets: fit(*sets, QUICK))
  path = tmp_path / 'digits.npz'
  assert classifiers.main(['--data=digits', f'--output={path}']) == 0
  found = classifier_file.load(path)
  assert found.training in classifier_file.SHIPPED
  assert f'fingerprint {found.fingerprint}' in capsys.readouterr().out
  assert classifiers.main(['--data=nothing', f'--output={path}']) == 2
  assert capsys.readouterr().err.startswith('jaxgen: unknown dataset')


PROGRAM = """
import sys
import numpy as np
from jaxgen.features import classifier
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (128, 18, 18, 1)).astype(np.uint8)
labels = generator.integers(0, 10, 128)
trained = classifier.fit(images, labels, images, labels, classifier.Recipe(steps=4))
np.savez(sys.argv[1], features=classifier.extractor(trained)(images).features, **trained.weights)
"""


@pytest.mark.slow
def test_any_number_of_cores_trains_the_same_bits(tmp_path: Path) -> None:
  """The sums of biases' gradients were XLA's first to depend on the number of threads."""
  paths = [tmp_path / f'{threads}.npz' for threads in (1, 3)]
  # XLA takes NPROC for the number of cores, of which this machine may have few.
  running = [
    subprocess.Popen(
      [sys.executable, '-c', PROGRAM, str(path)],
      env=os.environ | {'NPROC': path.stem, 'JAX_ENABLE_COMPILATION_CACHE': 'false'},
    )
    for path in paths
  ]
  assert [process.wait() for process in running] == [0, 0]
  one, three = (dict(np.load(path)) for path in paths)
  for name, array in one.items():
    np.testing.assert_array_equal(array, three[name], err_msg=name)


def test_files_are_small() -> None:
  """They come with every clone."""
  assert sum(path.stat().st_size for path in classifier_file._FOLDER.iterdir()) < 1_500_000


def test_the_yardstick_of_digits_has_not_moved(digits: Digits, digit_features: Features) -> None:
  """Known values, on any machine to rounding: the price of fixed weights is that they stay."""
  real = moments(digit_features.extract(digits.train_images).features)
  test = moments(digit_features.extract(digits.test_images).features)
  flipped = moments(digit_features.extract(digits.test_images[:, ::-1]).features)
  assert frechet_distance(real, test) == pytest.approx(10.8577, rel=1e-3)
  assert frechet_distance(real, flipped) == pytest.approx(205.899, rel=1e-3)
