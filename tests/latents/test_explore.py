"""--mode=explore of trained models, and jaxgen.explore of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jaxgen
from jaxgen import images
from jaxgen.latents.pictures import SHEETS
from jaxgen.main import main

ROOT = Path(__file__).parent.parent.parent
SMALL = (
  *('num_steps=4', 'steps_per_call=1', 'checkpoint.every=4', 'log_every=4', 'batch_size=16'),
  *('evaluation.every=0', 'evaluation.training_samples=0', 'evaluation.num_samples=0'),
  'evaluation.batch_size=5',
)


def train(experiment: str, workdir: Path, *fields: str) -> list[str]:
  """Trains a little; what the command line then names the run by."""
  overrides = [f'--config.{field}' for field in (*SMALL, *fields)]
  source = f'--config={ROOT}/experiments/{experiment}.py'
  assert main([source, f'--workdir={workdir}', *overrides]) == 0
  return [f'--workdir={workdir}']


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
  folder = tmp_path_factory.mktemp('runs') / 'autoencoder'
  train('autoencoder', folder, 'network.hidden=(16,)', 'objective.latent=2')
  yield folder
  jax.clear_caches()


def test_a_model_with_codes_is_explored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
  """By the command line and in a notebook alike."""
  assert main(['--mode=explore', f'--workdir={run}', '--num_images=150']) == 0
  said = capsys.readouterr().out
  assert 'accuracy on 150 test images' in said
  assert str(run / 'explore') in said
  record = json.loads((run / 'explore' / 'explore.json').read_text())
  assert set(record['pictures']) == {f'{name}.png' for name in SHEETS}
  assert {path.name for path in (run / 'explore').iterdir()} == {
    *record['pictures'],
    'explore.json',
  }
  assert record['dimensions'] == 2
  assert record['training_images'] == record['test_images'] == 150
  assert list(record['probe']['accuracy_by_labels']) == ['100', '150']

  explored = jaxgen.explore(jaxgen.load(run), jaxgen.data('digits'), 150)
  assert explored.record.items() <= record.items()
  for name, sheet in explored.sheets.items():
    flat = images.grid(sheet.reshape(-1, *sheet.shape[2:]), columns=sheet.shape[1])
    with Image.open(run / 'explore' / f'{name}.png') as file:
      np.testing.assert_array_equal(np.asarray(file)[..., None], images.enlarge(flat))


def test_a_manifold_is_of_codes_as_samples_have_them(run: Path) -> None:
  """Its middle is the mean code, not the code 0."""
  model = jaxgen.load(run)
  sheet = jaxgen.explore(model, jaxgen.data('digits'), 20).sheets['manifold']
  mean = np.asarray(model.params['codes']['first'])
  assert np.abs(mean).max() > 1e-3
  np.testing.assert_array_equal(sheet[7, 7], model.decode(mean[None])[0])


def test_a_model_without_codes_is_refused(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  named = train('gaussian_mixture', tmp_path, 'objective.components=2')
  assert main(['--mode=explore', *named]) == 2
  assert "the objective 'gaussian_mixture' cannot encode" in capsys.readouterr().err
  for wrong, sentence in (
    (['--mode=explore', '--num_images=0'], '--num_images=0 must be positive'),
    (
      ['--mode=sample', '--num_images=50'],
      '--num_images=50 is of --mode=explore and --mode=likelihood, not of sample',
    ),
  ):
    assert main([*wrong, *named]) == 2
    assert sentence in capsys.readouterr().err


def test_one_image_is_too_few(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
  assert main(['--mode=explore', f'--workdir={run}', '--num_images=1']) == 2
  assert 'take at least 2' in capsys.readouterr().err


@pytest.mark.slow
def test_a_gan_is_explored_by_descent(tmp_path: Path) -> None:
  fields = 'network.hidden=(16,)', 'objective.latent=3', 'batch_size=20'
  named = train('gan', tmp_path, *fields)
  assert main(['--mode=explore', *named, '--num_images=20']) == 0
  record = json.loads((tmp_path / 'explore' / 'explore.json').read_text())
  assert record['codes'] == 'found by descent through the decoder'
  assert record['dimensions'] == 3
