"""A study's config becomes its cells, or is refused before anything runs, in one sentence."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxgen import configuration, fields
from jaxgen.errors import UserError
from jaxgen.study import cells, plan, results
from jaxgen.study.__main__ import main
from tests.examples import EXPERIMENTS

ROOT = Path(__file__).parents[2]
STUDIES = sorted(
  path for path in (ROOT / 'experiments' / 'studies').glob('*.py') if path.name != 'common.py'
)
VAE = f'{ROOT}/experiments/vae.py'
EDM = {'edm': {'experiment': f'{ROOT}/experiments/edm.py', 'overrides': {}}}
FIELDS = {
  'title': 'Two sizes',
  'models': {'vae': {'experiment': VAE, 'overrides': {}}},
  'overrides': {'num_steps': 40},
  'axes': {'latent': {'objective': {'latent': (2, 4)}}},
  'seeds': (0, 1),
  'numbers': ('fid_classifier',),
  'x': 'latent',
  'log': (),
}

Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
  """A study's file with these fields."""

  def write(**fields: object) -> str:
    path = tmp_path / 'mine.py'
    path.write_text(
      'import ml_collections\n'
      f'def get_config(): return ml_collections.ConfigDict({FIELDS | fields!r})\n'
    )
    return str(path)

  return write


def test_cells_are_the_product_of_models_axes_and_seeds(written: Written) -> None:
  critic = {'objective': {'critic_steps': (1, 3)}, 'batch_size': (8, 24)}
  axes = FIELDS['axes'] | {'critic_steps': critic}
  gan = {'experiment': f'{ROOT}/experiments/gan.py', 'overrides': {'objective': {'latent': 9}}}
  study = plan.load(written(axes=axes, models={'gan': gan}), ())
  found = {
    (c.config.objective.latent, c.config.objective.critic_steps, c.config.batch_size)
    for c in study.cells
  }
  assert found == {(2, 1, 8), (2, 3, 24), (4, 1, 8), (4, 3, 24)}  # fields of one axis go together
  assert [cell.seed for cell in study.cells] == [0, 1] * 4
  assert {cell.config.num_steps for cell in study.cells} == {40}
  assert study.cells[0].name == 'gan-critic_steps1-latent2-seed0'
  assert study.cells[0].point == {'latent': 2, 'critic_steps': 1}


def test_parts_hold_each_cell_once(written: Written) -> None:
  cells = plan.load(written(), ('--config.seeds=(0,1,2)',)).cells
  assert len(cells) == 6
  parts = [plan.part(cells, f'{k}/4') for k in (1, 2, 3, 4)]
  assert sorted(cell.name for part in parts for cell in part) == sorted(c.name for c in cells)
  assert max(map(len, parts)) == 2
  for of in range(1, 9):
    sizes = [len(plan.part(cells, f'{k}/{of}')) for k in range(1, of + 1)]
    assert (sum(sizes), max(sizes)) == (6, math.ceil(6 / of)), sizes
  halves = [plan.part(cells, f'{k}/2') for k in (1, 2)]  # no place of the grid is one part's alone
  assert [{cell.point['latent'] for cell in half} for half in halves] == [{2, 4}] * 2


def test_the_whole_grid_comes_before_its_next_seed(written: Written) -> None:
  cells = plan.part(plan.load(written(), ('--config.seeds=(3,1)',)).cells, '1/1')
  first, second = cells[: len(cells) // 2], cells[len(cells) // 2 :]
  assert ({cell.seed for cell in first}, {cell.seed for cell in second}) == ({1}, {3})
  assert [cell.config.objective.latent for cell in first] == [2, 4]


def test_an_axis_bears_the_name_of_what_tells_its_values_apart(written: Written) -> None:
  samplers = {'inner': (0, 0, 5), 'name': ('ddim', 'heun', 'langevin'), 'rate': (0.0, 0.0, 0.1)}
  axes = {'sampler': {'sampler': samplers}}
  (cell, _) = plan.load(written(axes=axes, models=EDM, x='sampler'), ()).cells
  assert [s.point['sampler'] for s in cell.samplings] == ['ddim', 'heun', 'langevin']
  beside = {'b': {'sampler': {'inner': 3, 'name': 'heun', 'rate': 0.0}}}
  (cell, _) = plan.load(written(axes=axes, models=EDM, x='sampler', besides=beside), ()).cells
  assert cell.samplings[-1].point['sampler'] == '3 heun 0.0'
  on_grid = {'inner': 0, 'name': 'heun', 'rate': 0.0}
  assert plan.label_beside('sampler', samplers, on_grid) == 'heun'


@pytest.mark.parametrize(
  ('codes', 'ran', 'found'),
  [((0, 0, 0), 3, 0), ((2, 0, 0), 1, 2), ((0, 2, 0), 3, 2), ((0, 130, 0), 2, 130)],
)
def test_an_evaluation_that_fails_stops_no_other(
  codes: tuple[int, ...], ran: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr('sys.argv', [])  # which every line sets
  lines, seen = [['--config=edm.py'], ['--mode=evaluate', '1'], ['--mode=evaluate', '2']], []

  def main(line: list[str]) -> int:
    seen.append(line)
    return codes[len(seen) - 1]

  assert cells.in_turn(lines, main) == found
  assert seen == lines[:ran]


def test_samplers_need_no_training_of_their_own(written: Written) -> None:
  sampled = {'steps': {'sampler': {'steps': (5, 9)}}, 'eta': {'sampler': {'eta': (0.0, 1.0)}}}
  model = {
    'ddpm': {
      'experiment': f'{ROOT}/experiments/ddpm.py',
      'overrides': {'sampler': {'name': 'ddim'}},
    }
  }
  besides = {'many': {'sampler': {'steps': 90, 'eta': 0.5}}}
  study = plan.load(written(axes=sampled, models=model, besides=besides, x='steps'), ())
  assert len(study.cells) == 2
  for cell in study.cells:
    chosen = [(s.config.sampler.steps, s.config.sampler.eta) for s in cell.samplings]
    assert chosen == [(5, 0.0), (9, 0.0), (5, 1.0), (9, 1.0), (90, 0.5)]
    assert cell.samplings[-1].point == {'steps': 90, 'eta': 0.5}
    drawn = '--config.sampler.eta=1.0', '--config.sampler.steps=5'
    assert sorted(cell.samplings[2].arguments) == ['--config.evaluation.raw=False', *drawn]


@pytest.mark.parametrize(
  ('numbers', 'raw'),
  [
    (('fid_classifier',), False),
    (('fid_classifier', 'train/raw/fid_classifier'), True),
    (('raw_nats',), False),
  ],
)
def test_raw_parameters_are_looked_at_for_numbers_of_theirs(
  numbers: tuple[str, ...], raw: bool, written: Written
) -> None:
  """Also of numbers from the command line; the training is the same, and so is the folder."""
  study = plan.load(written(), (f'--config.numbers={",".join(numbers)},',))
  (sampling,) = study.cells[0].samplings
  assert sampling.config.evaluation.raw == raw
  assert study.cells[0].config == plan.load(written(), ()).cells[0].config
  made = {
    'step': 40,
    'sampler': {},
    'evaluation': sampling.config.evaluation.to_dict() | {'raw': False},
  }
  assert cells.of(made, study.cells[0], sampling) != raw
  del made['evaluation']['raw']  # of before: both were looked at
  assert cells.of(made, study.cells[0], sampling)


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    ({'axes': {'a': {'objective': {'latnet': (1, 2)}}}}, "Did you mean 'objective.latent'"),
    ({'axes': {'a': {'critic': {'steps': (1, 2)}}}}, "no section 'critic'"),
    ({'axes': {'a': {'objective': {'latent': (0.5, 1.5)}}}}, 'latent takes a whole number'),
    ({'axes': {'a': {'objective': {'latent': (2, -2)}}}}, 'objective.latent=-2 must be positive'),
    ({'axes': {'a': {'batch_size': (64, 64)}}, 'x': 'a'}, 'vae-a64-seed0 is there twice'),
    ({'axes': {'a': {'objective': {'latent': ()}}}}, 'must be a tuple of at least one value'),
    ({'axes': {'a': {'objective': {'latent': 3}}}}, 'must be a tuple of at least one value'),
    ({'axes': {'a': {}}}, "the axis 'a' is empty"),
    ({'axes': {}}, 'the grid is empty'),
    ({'axes': {'a': {'seed': (1, 2)}}}, 'or into seeds'),
    ({'axes': {'a': {'evaluation': {'num_samples': (1, 2)}}}}, 'put it into overrides'),
    ({'axes': {'a': {'num_steps': (20, 40), 'ema_decay': (0.5,)}}}, 'ema_decay 1, num_steps 2'),
    ({'models': {}}, 'the study has no models'),
    ({'models': {'vae': {'experiment': VAE}}}, 'models.vae must hold experiment and overrides'),
    ({'models': {'vae': {'experiment': 'nowhere.py', 'overrides': {}}}}, 'no config file'),
    ({'overrides': {'nmu_steps': 3}}, "Did you mean 'num_steps'"),
    ({'overrides': {'num_steps': 30}}, 'must be a multiple of config.steps_per_call=20'),
    ({'seeds': ()}, 'seeds=() must be whole numbers'),
    ({'seeds': (1, 1)}, 'each once'),
    ({'numbers': ()}, 'the study has no numbers'),
    ({'x': 'laten'}, "Did you mean 'latent'"),
    ({'log': ('fid_classifer',)}, "Did you mean 'fid_classifier'"),
    (
      {'models': EDM, 'axes': {'steps': {'sampler': {'steps': (5, 5)}}}},
      "edm-seed0 {'steps': '5'} is there twice",
    ),
    (
      {
        'models': EDM,
        'axes': {'steps': {'sampler': {'steps': (5, 9)}}},
        'besides': {'b': {'sampler': {'steps': 9}}},
      },
      "edm-seed0 {'steps': 9} is there twice",
    ),
    ({'besides': {'b': {'sampler': {'steps': 9}}}}, "besides has a point of ['sampler.steps']"),
    ({'extra': 1}, "unknown field 'extra' of a study"),
    ({'seeds': 3}, "a study has a field 'seeds', of type tuple"),
  ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
  fields: dict[str, object],
  words: str,
  written: Written,
  tmp_path: Path,
  capsys: pytest.CaptureFixture[str],
) -> None:
  x = {'x': next(iter(fields['axes']), 'model')} if 'axes' in fields else {}
  folder = tmp_path / 'study'
  assert main([f'--config={written(**x | fields)}', f'--workdir={folder}']) == 2
  error = capsys.readouterr().err
  assert error.startswith('jaxgen: ')
  assert words in error
  assert not folder.exists()


@pytest.mark.parametrize('text', ['9/8', '0/2', '2', '1/0', 'a/b', '-1/2'])
def test_part_out_of_range(
  text: str, written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  arguments = [f'--config={written()}', f'--workdir={tmp_path}/study', f'--part={text}']
  assert main(arguments) == 2
  assert f'--part={text} must be K/N with K from 1 to N' in capsys.readouterr().err


def test_a_folder_holds_one_study(written: Written, tmp_path: Path) -> None:
  saved = {name: FIELDS[name] for name in results.COMPUTED if name in FIELDS}
  (tmp_path / results.FILE).write_text(json.dumps({'study': saved}))
  results.agree(plan.load(written(), ()), tmp_path)
  results.agree(plan.load(written(seeds=(0, 1, 2), title='More seeds'), ()), tmp_path)
  other = plan.load(written(), ('--config.overrides.num_steps=60',))
  with pytest.raises(UserError, match=r'another study:\n  overrides.num_steps: 40 there, 60 now'):
    results.agree(other, tmp_path)
  (tmp_path / results.FILE).write_text('{"study": 3}')
  with pytest.raises(UserError, match='cannot read'):
    results.agree(other, tmp_path)
  (tmp_path / 'config.json').write_text('{}')
  with pytest.raises(UserError, match='the folder of a run'):
    results.agree(other, tmp_path)


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
@pytest.mark.parametrize('dataset', ['digits', 'mnist'])
def test_every_study_has_cells_that_can_be(path: Path, dataset: str) -> None:
  study = plan.load(f'{path}:{dataset}', ('--config.seeds=(0,)',))
  assert len(study.cells) * len(study.cells[0].samplings) > 1
  assert {cell.config.data.name for cell in study.cells} == {dataset}


def test_the_atlas_has_every_experiment_that_stands_alone() -> None:
  study = plan.load(f'{ROOT}/experiments/studies/atlas.py', ('--config.seeds=(0,)',))
  alone = {p.stem for p in EXPERIMENTS if not fields.first_stage(configuration.execute(str(p)))}
  assert {cell.model for cell in study.cells} == alone
