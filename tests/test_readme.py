"""What the README says is so: its commands and programs run as they are pasted, on small sizes."""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from jaxgen import configuration
from jaxgen.fields import flatten
from jaxgen.main import default_workdir, main
from tests.examples import TINY

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
PAGES = sorted(path for path in ROOT.rglob('*.md') if '.venv' not in path.parts)
SHORT = TINY | {
  'num_steps': 4,
  'steps_per_call': 1,
  'optimizer.warmup_steps': 0,
  'checkpoint.best': '',
  'batch_size': 8,
  'objective.timesteps': 60,
  'checkpoint.every': 2,
  'evaluation.every': 0,
  'evaluation.training_samples': 0,
  'evaluation.validation_images': 16,
  'evaluation.num_samples': 40,
}
# What installs, asks for a shell or serves for ever.
ELSEWHERE = ('./launch.sh', 'source', 'tensorboard', 'pip')
COMMANDS = ('python', *ELSEWHERE)
# What makes a command that fits no training short.
SHORTER = {
  'jaxgen.study': ['--part=1/15', '--config.overrides.num_steps=20'],
  'jaxgen.theory': ['tweedie'],
}


def fences(page: str, language: str = '') -> list[str]:
  """The blocks of code in a language."""
  found = re.findall(r'^```(\w*)\n(.*?)^```$', page, flags=re.DOTALL | re.MULTILINE)
  return [code for kind, code in found if kind == language]


def commands(page: str) -> list[list[str]]:
  """The command lines of a page, without comments."""
  lines = [line for block in fences(page) for line in block.replace('\\\n', ' ').splitlines()]
  return [shlex.split(line, comments=True) for line in lines if line.startswith(COMMANDS)]


def trainings(page: str) -> list[list[str]]:
  """The flags of the command lines that train an experiment of the project."""
  begun = [line[3:] for line in commands(page) if line[:3] == ['python', '-m', 'jaxgen.main']]
  return [flags for flags in begun if flags[0].startswith('--config=experiments/')]


def shortened(flags: list[str]) -> list[str]:
  """A training on digits that takes seconds."""
  flags = [flag.replace(':mnist', ':digits') for flag in flags]
  source = flags[0].removeprefix('--config=')
  config = configuration.execute(source)
  known = dict(flatten(config.to_dict()))
  if not any(flag.startswith('--workdir') for flag in flags):
    flags.append(f'--workdir={default_workdir(source, config)}')  # that of the command as it is
  return flags + [f'--config.{name}={value}' for name, value in SHORT.items() if name in known]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
  """A folder in which the README's paths mean what they mean in a clone."""
  (tmp_path / 'experiments').symlink_to(ROOT / 'experiments')
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  return tmp_path


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
  """Pages and pictures that a page names lie where it says."""
  links = re.findall(r'\]\(([^)#]+)', page.read_text())
  assert [link for link in links if '://' not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_trains_experiments_that_are_there(page: Path) -> None:
  """Their files are found and have the fields that the command sets."""
  for flags in trainings(page.read_text()):
    changes = [flag for flag in flags[1:] if flag.startswith('--config.')]
    source = flags[0].removeprefix('--config=experiments/')
    configuration.load(str(ROOT / 'experiments' / source), None, changes)


@pytest.mark.slow
def test_commands_run_in_their_order(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  """And the program that loads a run, after the run that it loads."""
  for command in commands(README):
    if command[0] in ELSEWHERE:
      continue
    assert command[:2] == ['python', '-m']
    module, flags = command[2], command[3:]
    if flags and flags[0].startswith('--config=experiments/') and module == 'jaxgen.main':
      flags = shortened(flags)
    flags = [flag.replace('=mnist', '=digits') for flag in flags] + SHORTER.get(module, [])
    if any('their_samples.npz' in flag for flag in flags):
      shutil.copy(clone / 'runs/mine/samples.npz', clone / 'their_samples.npz')
    monkeypatch.setattr(sys, 'argv', [module, *flags])
    for name in (module, f'{module}.__main__'):
      monkeypatch.delitem(sys.modules, name, raising=False)  # or runpy warns
    with pytest.raises(SystemExit) as ended:
      runpy.run_module(module, run_name='__main__', alter_sys=True)
    assert not ended.value.code, command
  assert (clone / 'report.html').exists()
  load = next(block for block in fences(README, 'python') if 'jaxgen.load' in block)
  exec(load, {})  # noqa: S102


@pytest.mark.slow
def test_own_model_is_what_it_takes(clone: Path) -> None:
  """The two files, written as they are named in their first lines, train and sample."""
  for block in fences(README, 'python'):
    name = re.match(r'# ([\w/]+\.py)', block)
    if name:
      path = clone / name[1]
      path.parent.mkdir(exist_ok=True)
      path.write_text(block)
  short = [f'--config.{name}={SHORT[name]}' for name in ('num_steps', 'batch_size')]
  assert main(['--config=mine.py', '--workdir=runs/mine', *short]) == 0
  assert main(['--mode=sample', '--workdir=runs/mine', '--num_samples=4']) == 0
  assert (clone / 'runs/mine/grid.png').exists()
