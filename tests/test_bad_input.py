"""Bad input: one message with the way out, an exit code that is not 0, and nothing damaged."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgen.main import default_workdir, main

ROOT = Path(__file__).parent.parent
SMALL = (
  '--config.network.hidden=16',
  '--config.num_steps=8',
  '--config.batch_size=20',
  '--config.steps_per_call=2',
  '--config.log_every=2',
  '--config.checkpoint.every=4',
  '--config.evaluation.every=0',
  '--config.evaluation.batch_size=20',
  '--config.evaluation.validation_images=20',
  '--config.evaluation.training_samples=0',
)


def experiment(name: str = 'vae', *fields: str, small: tuple[str, ...] = SMALL) -> list[str]:
  """The arguments that train an experiment, tiny."""
  file, colon, dataset = name.partition(':')
  return [
    f'--config={ROOT}/experiments/{file}.py{colon}{dataset}',
    *small,
    *(f'--config.{field}' for field in fields),
  ]


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
  """Runs a command line that must fail, in one message that holds these words."""

  def run(arguments: list[str], *words: str, workdir: Path | None = None) -> str:
    fresh = tmp_path / 'fresh'
    code = main([*arguments, f'--workdir={workdir or fresh}'])
    error = capsys.readouterr().err
    assert code == 2, error
    assert re.match(r'(WARNING.*\n)*jaxgen: ', error)
    assert 'Traceback' not in error
    assert not [word for word in words if word not in error]
    assert workdir or not (fresh / 'config.json').exists()
    return error

  return run


@pytest.fixture(scope='session')
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """The workdir of a finished tiny VAE."""
  workdir = tmp_path_factory.mktemp('finished') / 'run'
  assert main([*experiment(), f'--workdir={workdir}']) == 0
  return workdir


@pytest.fixture
def trained(finished: Path, tmp_path: Path) -> Path:
  """A copy of it."""
  return shutil.copytree(finished, tmp_path / 'trained')


def test_unknown_config_file(refused: Refused) -> None:
  wrong = f'{ROOT}/experiments/vea.py'
  refused([f'--config={wrong}'], 'no config file', wrong, 'Did you mean', 'vae.py')
  refused(['--config=nowhere/at/all.py'], 'nowhere/at/all.py')


@pytest.mark.parametrize(
  ('program', 'words'),
  [
    ('import nothing_like_this', 'ModuleNotFoundError'),
    ('def get_config(: pass', 'SyntaxError'),
    ('x = 1', 'get_config'),
    ('def get_config(): return {"seed": 0}', 'returned dict, not a ConfigDict'),
    ('def get_config(): return 1 / 0', 'division by zero'),
    (
      'import ml_collections\ndef get_config(): return ml_collections.ConfigDict({"seed": 0})',
      'the config lacks num_steps',
    ),
  ],
)
def test_broken_config_file(refused: Refused, tmp_path: Path, program: str, words: str) -> None:
  (tmp_path / 'broken.py').write_text(program)
  refused([f'--config={tmp_path}/broken.py'], words)


@pytest.mark.parametrize(
  ('field', 'words'),
  [
    ('optimizer.learning_rte=1e-3', "Did you mean 'optimizer.learning_rate'"),
    ('num_steps=many', 'num_steps takes a whole number'),
    ('objective.name=vea', "Unknown objective 'vea'. Did you mean 'vae'"),
    ('network.name=mpl', "Unknown network 'mpl'. Did you mean 'mlp'"),
    ('objective.likelihood=poisson', 'bernoulli'),
    ('optimizer.name=adma', 'adam'),
    ('optimizer.schedule=linaer', 'choose one of constant, cosine, linear'),
    ('optimizer.weight_decay=0.1', 'use adamw'),
    ('optimizer.schedule=cosine --config.optimizer.warmup_steps=8', 'warmup_steps=8 must be below'),
    ('data.name=mnits', "unknown dataset 'mnits'"),
    ('data.name=a b', "cannot load dataset 'a b'"),
    ('data.name=../../etc/passwd', 'cannot load dataset'),
    ('data.name=glue/cola', 'no feature `image`'),
    ('data.test_fraction=0.95', 'cannot hold out'),
    ('batch_size=7', 'batch_size=7 cannot be divided among 4 devices: use 4 or another multiple'),
    ('batch_size=0', 'config.batch_size=0 must be positive'),
    ('network.hidden=(16,-1)', 'must be positive'),
    ('objective.latent=0', 'config.objective.latent=0 must be positive'),
    ('num_steps=-2', 'config.num_steps=-2 must be positive'),
    ('evaluation.batch_size=0', 'config.evaluation.batch_size=0 must be positive'),
    ('optimizer.learning_rate=nan', 'must be finite'),
  ],
)
@pytest.mark.filterwarnings('ignore')  # those of tensorflow-datasets
def test_wrong_field(refused: Refused, field: str, words: str) -> None:
  refused(experiment('vae', *field.split(' --config.')), words)


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (experiment('wgan', 'batch_size=24'), '4 devices and 5 critic steps: use 20'),
    (experiment('vae', 'network.name=convolutional', 'data.image_size=9'), '9'),
    (
      experiment('ddpm', 'batch_size=4', 'steps_per_call=1', 'data.image_size=9', small=()),
      '9',
    ),
    (experiment('vae', 'network.name=convolutional', 'network.hidden=()'), 'at least one layer'),
    (experiment('vae', 'network.name=dcgan', 'network.hidden=(8,8)'), 'normalises over the batch'),
    (experiment('avb', 'objective.width=0'), 'objective.width=0 must be positive'),
    (experiment('cycle_gan', 'network.dropout=0.5', small=()), 'no effect on cycle_gan'),
    (experiment('gan', 'objective.generator_loss=kind'), 'minimax'),
    (experiment('wgan', 'objective.constraint=none'), 'choose clip or penalty'),
    (experiment('vae', 'objective.beta=-1.0'), 'objective.beta=-1.0 must be at least 0'),
    (
      experiment('edm', 'objective.sigma_data=0.0', small=()),
      'objective.sigma_data=0.0 must be positive',
    ),
    (
      experiment('edm', 'objective.levels=7', small=()),
      'has no effect on objective.density=log_normal',
    ),
    (experiment('guided', 'sampler.guidance=0.0', small=()), 'no effect with sampler.guidance=0'),
    (experiment('non_amortized', 'posterior_optimizer.schedule=cosine'), 'choose constant'),
    (experiment('vae', 'extra=1'), "unknown config field 'extra'"),
    ([*experiment('vae'), 'stray'], "stray argument 'stray'"),
    ([*experiment('vae'), '--num_step=3'], "unknown option '--num_step=3'"),
    ([], 'holds no config.json'),
    (['--mode=sample'], 'holds no config.json'),
    (['--mode=evaluate'], 'holds no config.json'),
    ([*experiment('vae'), '--mode=sample'], 'what was trained there'),
    ([*experiment('vae'), '--mode=evaluate'], 'what was trained there'),
    ([*experiment('vae'), '--mode=sample', '--output=x.png'], '--output=x.png must end in .npz'),
    (['--mode=evaluate', '--num_samples=50'], '--num_samples=50 is of --mode=sample'),
    (['--mode=evaluate', '--parameters=raw'], '--parameters=raw is of --mode=sample'),
    (['--mode=verify', '--checkpoint=best'], '--checkpoint=best is of --mode=sample'),
    ([*experiment('vae'), '--checkpoint=last'], '--checkpoint=last is of --mode=sample'),
    (experiment('vae', 'data.channels=2'), 'config.data.channels=2; choose 1 for grey'),
    ([*experiment('vae'), '--label=3'], '--label=3 is of --mode=sample'),
    ([*experiment('vae'), '--mode=sample', '--label=seven'], '--label=seven must be a class'),
    ([*experiment('vae'), '--output=x.npz'], '--output=x.npz is of --mode=sample'),
    ([*experiment('vae'), '--mode=sample', '--num_samples=0'], '--num_samples=0 must be'),
    ([*experiment('vae'), '--config.cpu_devices=-1'], 'cpu_devices=-1 must be zero or positive'),
  ],
)
def test_wrong_arguments(refused: Refused, arguments: list[str], words: str) -> None:
  refused(arguments, words)


def test_wrong_choices_are_those_of_argparse(capsys: pytest.CaptureFixture[str]) -> None:
  for wrong in ('--mode=trian', '--num_samples=many', '--parameters=old'):
    with pytest.raises(SystemExit) as raised:
      main([*experiment(), wrong])
    assert raised.value.code == 2
    assert wrong.partition('=')[2] in capsys.readouterr().err


def test_no_dataset_name_leaves_the_folder_of_runs() -> None:
  from jaxgen import configuration

  for name in ('../../x', '/etc/x', 'mnist:3.0.1', 'a/b', '..'):
    config = configuration.load(f'{ROOT}/experiments/vae.py:digits', None, ())
    config.data.name = name
    workdir = default_workdir(f'{ROOT}/experiments/vae.py', config)
    assert workdir.parent == Path('runs')
    assert workdir.name.startswith('vae-')


def test_folder_of_images(refused: Refused, tmp_path: Path) -> None:
  pictures = tmp_path / 'pictures'
  there = ('data.name=folder', f'data.path={pictures}')
  refused(experiment('vae', 'data.name=folder'), 'no folder', '--config.data.path=FOLDER')
  refused(experiment('vae', *there), 'no folder', str(pictures))
  pictures.mkdir()
  refused(experiment('vae', *there), 'no .png, .jpg, .jpeg files in', str(pictures))
  for i in range(12):
    Image.fromarray(np.full((8, 8), i, np.uint8)).save(pictures / f'{i:02}.png')
  (pictures / '07.png').write_bytes(b'\x89PNG no more')
  refused(experiment('vae', *there), 'cannot read image', '07.png')
  Image.new('L', (9, 8)).save(pictures / '07.png')
  refused(experiment('vae', *there), '07.png is (8, 9, 1)', '--config.data.image_size')


def test_unknown_platform() -> None:
  for wrong in ('abacus', 'tpu'):
    result = subprocess.run(
      [sys.executable, '-m', 'jaxgen.main', *experiment(), f'--platform={wrong}'],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    assert result.returncode == 2
    assert 'Traceback' not in result.stderr
    assert f'--platform={wrong}' in result.stderr
    assert 'Choose cpu, gpu or tpu' in result.stderr


def test_unwritable_workdir(refused: Refused, tmp_path: Path) -> None:
  (tmp_path / 'file').write_text('not a folder')
  for workdir in (tmp_path / 'file', tmp_path / 'file' / 'run', Path('/proc/run')):
    refused(experiment(), 'cannot write to workdir', str(workdir), workdir=workdir)
  assert (tmp_path / 'file').read_text() == 'not a folder'


def test_a_workdir_of_another_config_or_architecture(refused: Refused, trained: Path) -> None:
  before = (trained / 'config.json').read_bytes()
  refused(experiment('vae', 'seed=7'), 'seed: 0 there, 7 now', workdir=trained)
  refused(experiment('gan'), 'objective.name', 'another config', workdir=trained)
  wider = experiment('vae', 'network.hidden=32')
  for mode in ('sample', 'evaluate'):
    refused([*wider, f'--mode={mode}'], 'another config', '(16,) there, (32,) now', workdir=trained)
  assert (trained / 'config.json').read_bytes() == before
  by_hand = json.loads(before) | {'network': json.loads(before)['network'] | {'hidden': [32]}}
  (trained / 'config.json').write_text(json.dumps(by_hand))
  refused(['--mode=sample'], 'another architecture', 'expected', workdir=trained)
  assert not (trained / 'samples.npz').exists()


def test_data_that_changed_under_a_run(refused: Refused, tmp_path: Path) -> None:
  pictures, run = tmp_path / 'pictures', tmp_path / 'run'
  pictures.mkdir()
  for i in range(40):
    Image.fromarray(np.full((8, 8), i, np.uint8)).save(pictures / f'{i:02}.png')
  there = experiment('vae', 'data.name=folder', f'data.path={pictures}')
  assert main([*there, f'--workdir={run}']) == 0
  before = (run / 'config.json').read_bytes()
  moved = pictures.rename(tmp_path / 'moved')
  there = experiment('vae', 'data.name=folder', f'data.path={moved}')
  assert main([*there, f'--workdir={run}']) == 0
  before = (run / 'config.json').read_bytes()
  (moved / '05.png').unlink()
  refused(there, 'began with other data', 'train images: 28 then, 27 now', workdir=run)
  Image.fromarray(np.full((8, 8), 99, np.uint8)).save(moved / '05.png')
  refused(there, 'began with other data', 'sha256', workdir=run)
  evaluate = ['--mode=evaluate', f'--config.data.path={moved}']
  refused(evaluate, 'began with other data', 'sha256', workdir=run)
  assert not (run / 'evaluation.json').exists()
  assert (run / 'config.json').read_bytes() == before


@pytest.mark.parametrize('name', ['config.json', 'run.json'])
@pytest.mark.parametrize('content', [b'', b'{"data": 3}', b'[' * 5000, b'\xff\xfe', b'{"starts'])
def test_a_garbled_workdir(refused: Refused, trained: Path, name: str, content: bytes) -> None:
  (trained / name).write_bytes(content)
  refused(['--mode=sample'], name.removesuffix('.json'), workdir=trained)
  if name == 'run.json':
    refused(experiment(), name, workdir=trained)
  assert (trained / name).read_bytes() == content


def test_a_run_without_checkpoints(refused: Refused, trained: Path) -> None:
  shutil.rmtree(trained / 'checkpoints')
  for mode in ('sample', 'evaluate'):
    refused([f'--mode={mode}'], 'holds no checkpoint', workdir=trained)
  refused(['--mode=sample', '--checkpoint=best'], 'holds no best checkpoint', workdir=trained)
  before = (trained / 'metrics.jsonl').read_bytes()
  refused(experiment(), 'holds a finished run, and no checkpoint', workdir=trained)
  assert (trained / 'metrics.jsonl').read_bytes() == before


def test_a_learning_rate_that_is_far_too_large(refused: Refused, tmp_path: Path) -> None:
  run = tmp_path / 'run'
  error = refused(experiment('vae', 'optimizer.learning_rate=1e20'), 'diverged', workdir=run)
  assert re.search(r'jaxgen: \S+ is (nan|inf|-inf) at step \d+', error)
  assert not any((run / 'checkpoints').iterdir())
