"""What is said of a config's fields: by --help, by the files that set them, and of unknown ones."""

import subprocess
from pathlib import Path

import pytest

from jaxgen import classifiers, configuration, datasets, fields
from jaxgen import main as entry
from jaxgen.errors import UserError
from jaxgen.evaluation import foreign
from jaxgen.report.__main__ import main as report
from jaxgen.study.__main__ import main as study
from jaxgen.theory.__main__ import main as theory
from tests.examples import EXPERIMENTS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize('experiment', EXPERIMENTS, ids=lambda path: path.stem)
def test_every_field_of_an_experiment_has_a_word_and_a_line(experiment: Path) -> None:
  config = configuration.load(str(experiment), None, [])
  known = dict(fields.flatten(config.to_dict()))
  lines = fields.listing(known, fields.comments(experiment), 10_000).splitlines()
  assert len(lines) == len(known)
  for line, (name, value) in zip(lines, known.items(), strict=True):
    shown = f'{name}={value}'.replace(', ', ',')
    assert line.startswith(f'{"*" if name.startswith(fields.FREE) else " "} {shown} ')
    assert line.split(shown, 1)[1].strip() != fields.kind(value), f'{experiment}: {name}'


def test_comments_are_found_where_they_stand(tmp_path: Path) -> None:
  source = tmp_path / 'mine.py'
  source.write_text("""
import ml_collections

def get_config(dataset='digits'):
  config = ml_collections.ConfigDict()
  config.seed = 0  # of all
  # Two lines
  # above.
  config.a = ml_collections.ConfigDict()
  config.a.b = '# no comment'
  config.a.c = (
    1
  )  # behind
  config.a.d = config.a.e = 1  # of both
  config.again = ml_collections.ConfigDict()
  config.again.f = 1  # forgotten
  config.again = ml_collections.ConfigDict()
  if dataset == 'digits':
    config.a.b = 'x'  # of one dataset
  return config


def optimizer():
  section = ml_collections.ConfigDict()
  section.rate = 1.0  # of each
""")
  configuration.execute(str(source))
  assert fields.comments(source) == {
    'seed': 'of all',
    'a': 'Two lines above.',
    'a.c': 'behind',
    'a.d': 'of both',
    'a.e': 'of both',
    'optimizer.rate': 'of each',
  }
  listed = fields.listing({'critic_optimizer.rate': 1.0}, fields.comments(source))
  assert listed.endswith('of each')


@pytest.mark.parametrize(
  ('experiment', 'field', 'meant'),
  [
    ('vae', 'lr', "Did you mean 'optimizer.learning_rate'?"),
    ('gan', 'critic_optimizer.lr', "Did you mean 'critic_optimizer.learning_rate'?"),
    ('gan', 'LR', "'optimizer.learning_rate'"),
    ('vae', 'bs', "Did you mean 'batch_size'?"),
    ('vae', 'batch-size', "'batch_size'"),
    ('vae', 'epochs', "Did you mean 'num_steps'?"),
    ('ddpm', 'steps', "Did you mean 'num_steps' or 'sampler.steps'?"),
    ('vae', 'dataset', "Did you mean 'data.name'?"),
    ('vae', 'optimizer', "Did you mean 'optimizer.name'?"),
    ('vae', 'z_dim', "Did you mean 'objective.latent'?"),
    ('vae', 'objectve.beta', "Did you mean 'objective'?"),
    ('vae', 'objective.bata', "Did you mean 'objective.beta'?"),
    ('vae', 'zzz', 'Known: accumulate, batch_size, '),
  ],
)
def test_a_field_is_known_by_its_other_names(experiment: str, field: str, meant: str) -> None:
  with pytest.raises(UserError) as raised:
    configuration.load(f'{ROOT}/experiments/{experiment}.py', None, [f'--config.{field}=1'])
  assert meant in str(raised.value)


def test_synonyms_mean_fields_that_there_are() -> None:
  known = set()
  for path in EXPERIMENTS:
    known |= dict(fields.flatten(configuration.execute(str(path)).to_dict())).keys()
  for word, end in fields.SYNONYMS.items():
    assert any(f'.{name}'.endswith(f'.{end}') for name in known), (word, end)


def test_help_lists_the_fields_as_they_would_be(capsys: pytest.CaptureFixture[str]) -> None:
  config = f'--config={ROOT}/experiments/ddpm.py:mnist'
  assert entry.main([config, '--config.network.channels=48', '--help']) == 0
  said = capsys.readouterr().out
  assert 'network.channels=48 ' in said
  assert 'data.name=mnist ' in said
  assert '* sampler.steps=1000 ' in said
  assert 'examples:\n  python -m jaxgen.main --config=experiments/ddpm.py\n' in said
  assert entry.main(['--help']) == 0
  assert 'network.channels' not in capsys.readouterr().out
  assert entry.main([config, '--config.network.chanels=48', '--help']) == 2


@pytest.mark.parametrize('main', [foreign.main, report, study, theory, classifiers.main])
def test_every_entry_point_shows_examples(main, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ANN001
  with pytest.raises(SystemExit) as ended:
    main(['--help'])
  assert ended.value.code == 0
  said = capsys.readouterr().out
  assert 'examples:\n  python -m jaxgen.' in said
  assert '(default: )' not in said
  assert '(default: None)' not in said


def test_defaults_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
  with pytest.raises(SystemExit):
    report(['--help'])
  assert 'the page to write (default: report.html)' in capsys.readouterr().out


def test_launch_explains_itself_and_installs_nothing(tmp_path: Path) -> None:
  launch = tmp_path / 'launch.sh'
  launch.write_text((ROOT / 'launch.sh').read_text())
  said = subprocess.run(['bash', launch, '--help'], capture_output=True, text=True, check=True)
  assert said.stdout.startswith('./launch.sh  ')
  assert './launch.sh test [FLAGS]' in said.stdout
  assert 'set -' not in said.stdout
  assert list(tmp_path.iterdir()) == [launch]
  assert said.stderr == ''


def test_a_misspelt_dataset_is_known() -> None:
  with pytest.raises(UserError, match=r"unknown dataset 'mnsit'\. Did you mean 'mnist'"):
    datasets.load(datasets.section('mnsit'))
  with pytest.raises(UserError, match="Did you mean 'cifar100'"):
    datasets.load(datasets.section('cifar_100'))
