"""A number can be followed back to the data, the code, the machine and the arrays that made it."""

import hashlib
import json
import logging
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxgen import configuration, datasets, inference
from jaxgen.datasets import splits
from jaxgen.evaluation import provenance
from jaxgen.main import main
from tests import toy
from tests.toy import DATA, STEPS

# A config with a section on sampling, whatever the model makes of it.
SAMPLED = f"""
import sys
sys.path.insert(0, {str(toy.ROOT)!r})
from experiments import vae

def get_config():
  config = vae.get_config()
  config.sampler = {{'name': 'ancestral', 'steps': 1000}}
  return config
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
  """The workdir of a trained toy that has a sampler."""
  folder = tmp_path_factory.mktemp('provenance')
  (folder / 'sampled.py').write_text(SAMPLED)
  with toy.at_hand(folder):
    assert main([*command(folder), f'--workdir={folder}/run']) == 0
    yield folder / 'run'


def command(folder: Path) -> list[str]:
  return [*toy.command(folder / 'run')[1:], f'--config={folder}/sampled.py']


def read(path: Path) -> dict[str, Any]:
  return json.loads(path.read_text())


def changed(split: splits.Split, row: int) -> splits.Split:
  """A split whose image of this row differs in one pixel by one grey level."""
  images = split.images.copy()
  images[row, 1, 1, 0] += 1
  return split._replace(images=images)


def many(split: splits.Split, start: int) -> splits.Split:
  """200 distinct images: their rows' numbers, counted on from `start`."""
  numbers = np.arange(start, start + 200, dtype='>u4')
  return split._replace(images=numbers.view(np.uint8).reshape(200, 2, 2, 1))


WIDE = splits.Dataset(*(many(split, 1000 * i) for i, split in enumerate(DATA)))


def fingerprint(dataset: splits.Dataset) -> dict[str, int | str]:
  return provenance.fingerprint(dataset, provenance.image_hashes(dataset))


@pytest.mark.parametrize('split', ['train', 'validation', 'test'])
def test_one_pixel_of_one_image_is_noticed(split: str) -> None:
  before = fingerprint(WIDE)
  for row in (0, 1, 101, 199):
    other = WIDE._replace(**{split: changed(getattr(WIDE, split), row)})
    differ = {name for name, value in fingerprint(other).items() if before[name] != value}
    assert f'{split} sha256' in differ
    assert differ <= {f'{split} sha256', 'sha256 of some of them'}
  labelled = WIDE.test._replace(labels=np.arange(200))
  assert fingerprint(WIDE._replace(test=labelled))['test sha256'] != before['test sha256']


def test_images_that_are_read_on_demand_are_not_read_for_it() -> None:
  lazy = DATA.train._replace(images=splits.Rows(DATA.train.images, np.arange(16)))
  found = fingerprint(DATA._replace(train=lazy))
  whole = fingerprint(DATA)
  assert found == {name: value for name, value in whole.items() if name != 'train sha256'}


def test_copies_are_counted_between_splits() -> None:
  assert provenance.copies(provenance.image_hashes(WIDE)) == {}
  test, train = WIDE.test.images.copy(), WIDE.train.images
  test[[3, 50, 51]] = train[[7, 7, 199]]
  test[100] = WIDE.validation.images[0]
  mixed = WIDE._replace(test=splits.Split(test))
  found = provenance.copies(provenance.image_hashes(mixed))
  assert found == {('test', 'train'): 3, ('test', 'validation'): 1}


def test_copies_are_said(
  run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
  with monkeypatch.context() as patch:
    images = np.concatenate([DATA.test.images[:5], DATA.train.images[:2]])
    patch.setattr(datasets, 'load', lambda _: DATA._replace(test=splits.Split(images)))
    assert main([*toy.command(tmp_path / 'copied')]) == 0
    said = '2 of 7 test images are also train images, to the pixel'
    assert caplog.text.count(said) == 1
    assert main([f'--workdir={tmp_path}/copied', '--mode=evaluate']) == 0
    assert caplog.text.count(said) == 1  # which is nothing new
  for path in ('run.json', 'evaluation.json'):
    recorded = read(tmp_path / 'copied' / path)['data']
    assert recorded['test images that are also train images'] == 2


@pytest.mark.parametrize('split', ['train', 'test'])
def test_other_data_than_the_run_began_with_are_not_evaluated(
  run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], split: str
) -> None:
  other = DATA._replace(**{split: changed(getattr(DATA, split), 5)})
  monkeypatch.setattr(datasets, 'load', lambda _: other)
  before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
  assert main([f'--workdir={run}', '--mode=evaluate']) == 2
  error = capsys.readouterr().err
  assert f'{run} began with other data' in error
  assert f'{split} sha256: ' in error
  assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_what_an_older_record_did_not_know_is_added(run: Path) -> None:
  record = read(run / 'run.json')
  kept = {name: v for name, v in record['data'].items() if not name.endswith(' sha256')}
  (run / 'run.json').write_text(json.dumps(record | {'data': kept}))
  assert main([f'--workdir={run}', '--mode=evaluate']) == 0
  assert main([*command(run.parent), f'--workdir={run}']) == 0
  assert read(run / 'run.json')['data'] == record['data']


def test_a_resumed_run_says_what_else_it_runs_with(
  run: Path, caplog: pytest.LogCaptureFixture
) -> None:
  assert main([*command(run.parent), f'--workdir={run}']) == 0
  assert 'bits may differ' not in caplog.text
  record = read(run / 'run.json')
  last = record['starts'][-1]
  last['cores'] += 60
  last['devices'] = ['gpu: Abacus'] * 2
  last['packages']['jax'] = '0.0.1'
  last['git'] = 'another'
  (run / 'run.json').write_text(json.dumps(record))
  assert main([*command(run.parent), f'--workdir={run}']) == 0
  (line,) = (r.getMessage() for r in caplog.records if 'bits may differ' in r.getMessage())
  now = read(run / 'run.json')['starts'][-1]
  assert f'cores: {now["cores"] + 60} then, {now["cores"]} now' in line
  assert 'devices: 2 x gpu: Abacus then, 4 x cpu: cpu now' in line
  assert f'jax: 0.0.1 then, {jax.__version__} now' in line
  assert f'git: another then, {now["git"]} now' in line
  assert line.count(' then, ') == 4
  assert all(r.levelno == logging.WARNING for r in caplog.records if r.name.startswith('jaxgen'))


def test_an_evaluation_says_how_it_was_made(run: Path) -> None:
  assert main([f'--workdir={run}', '--mode=evaluate', '--config.evaluation.seeds=2']) == 0
  found = read(run / 'evaluation.json')
  sums = run / 'checkpoints' / str(STEPS) / 'SHA256SUMS'
  assert found['checkpoint_sha256'] == hashlib.sha256(sums.read_bytes()).hexdigest()
  assert (found['checkpoint'], found['step'], found['seed']) == ('last', STEPS, 0)
  assert found['sampler'] == {'name': 'ancestral', 'steps': 1000}
  config = read(run / 'config.json')
  assert found['data'].items() >= config['data'].items() | fingerprint(DATA).items()
  assert found['evaluation'] == config['evaluation'] | {'seeds': 2}
  assert found['sampling_seeds_of_one_trained_model'] == [0, 1]
  made, start = found['made'], read(run / 'run.json')['starts'][-1]
  assert {k: v for k, v in made.items() if k != 'date'} == {
    k: v for k, v in start.items() if k != 'date'
  }
  assert made['packages']['jax'] == jax.__version__
  age = datetime.now(UTC) - datetime.fromisoformat(made['date'])
  assert timedelta(seconds=-1) <= age < timedelta(minutes=5)


def test_another_sampler_has_a_file_of_its_own(run: Path) -> None:
  evaluate = [f'--workdir={run}', '--mode=evaluate']
  assert main(evaluate) == 0
  before = (run / 'evaluation.json').read_bytes()
  ddim = ['--config.sampler.name=ddim', '--config.sampler.steps=50']
  assert main([*evaluate, *ddim]) == 0
  found = read(run / 'evaluation-ddim-steps50.json')
  assert found['sampler'] == {'name': 'ddim', 'steps': 50}
  assert main([*evaluate, '--config.sampler.steps=7']) == 0
  assert read(run / 'evaluation-steps7.json')['sampler']['steps'] == 7
  assert (run / 'evaluation.json').read_bytes() == before
  (run / 'checkpoints').rename(run / 'best')
  try:
    assert main([*evaluate, *ddim, '--checkpoint=best']) == 0
  finally:
    (run / 'best').rename(run / 'checkpoints')
  assert read(run / 'evaluation-best-ddim-steps50.json')['checkpoint'] == 'best'
  sheets = {path.name for path in (run / 'figures').glob('neighbours*')}
  assert sheets >= {f'neighbours{x}.png' for x in ('', '-ddim-steps50', '-best-ddim-steps50')}


def test_what_an_older_evaluation_could_not_say_makes_no_other_file(run: Path) -> None:
  config = configuration.load(None, run, [])
  with config.unlocked():
    config.sampler.grid, config.sampler.churn = '', 0.0
  assert inference.variant(config, run) == ''
  with config.unlocked():
    config.sampler.grid = 'time'
  assert inference.variant(config, run) == '-gridtime'


def test_samples_say_how_they_were_made_and_go_where_they_are_told(
  run: Path, tmp_path: Path
) -> None:
  sample = [f'--workdir={run}', '--mode=sample', '--num_samples=3', '--parameters=raw']
  assert main([*sample, '--config.seed=4']) == 0
  before = (run / 'samples.npz').read_bytes(), (run / 'grid.png').read_bytes()
  assert main([*sample, '--config.sampler.name=ddim', f'--output={tmp_path}/new/ddim.npz']) == 0
  assert ((run / 'samples.npz').read_bytes(), (run / 'grid.png').read_bytes()) == before
  assert {path.name for path in (tmp_path / 'new').iterdir()} == {'ddim.npz', 'ddim.png'}
  sums = run / 'checkpoints' / str(STEPS) / 'SHA256SUMS'
  for path, seed, name in (
    (run / 'samples.npz', 4, 'ancestral'),
    (tmp_path / 'new' / 'ddim.npz', 0, 'ddim'),
  ):
    with np.load(path, allow_pickle=False) as file:
      assert file['samples'].shape == (3, *toy.SHAPE)
      assert file['samples'].dtype == np.uint8
      assert (int(file['step']), int(file['seed'])) == (STEPS, seed)
      assert (str(file['parameters']), str(file['checkpoint'])) == ('raw', 'last')
      assert json.loads(str(file['sampler'])) == {'name': name, 'steps': 1000}
      assert json.loads(str(file['config']))['seed'] == seed
      assert str(file['revision']) == read(run / 'run.json')['starts'][-1]['git']
      expected = hashlib.sha256(sums.read_bytes()).hexdigest()
      assert str(file['checkpoint_sha256']) == expected


def test_code_that_git_does_not_know_is_a_change(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def git(*arguments: str) -> str:
    who = ('-c', 'user.name=nobody', '-c', 'user.email=nobody@localhost')
    command = ['git', '-C', str(tmp_path), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

  code = tmp_path / 'package' / 'provenance.py'
  code.parent.mkdir()
  code.write_text('old = 1\n')
  monkeypatch.setattr(provenance, '__file__', str(code))
  assert provenance.revision() == 'unknown'
  git('init', '-q')
  git('commit', '-q', '--allow-empty', '-m', 'of another project')
  assert provenance.revision() == 'unknown'
  git('add', '-A')
  git('commit', '-q', '-m', 'all')
  commit = git('rev-parse', 'HEAD')
  assert provenance.revision() == commit
  (tmp_path / 'notes.txt').write_text('of no account')
  assert provenance.revision() == commit
  new = tmp_path / 'package' / 'models' / 'a new one.py'
  new.parent.mkdir()
  new.write_text('')
  assert provenance.revision() == f'{commit}+changes'
  (tmp_path / '.gitignore').write_text('models/\n')
  assert provenance.revision() == commit
  code.write_text('old = 2\n')
  assert provenance.revision() == f'{commit}+changes'
