"""What runs and columns are called: the experiment, and what differs."""

from pathlib import Path

import pytest

from jaxgen import configuration
from jaxgen.evaluation.protocol import Number
from jaxgen.main import default_workdir
from jaxgen.report import groups, runs

from .test_report import FID, workdir

VAE = str(Path(__file__).parent.parent / 'experiments' / 'vae.py')


@pytest.mark.parametrize(
  ('overrides', 'name'),
  [
    ([], 'vae-digits-seed0'),
    (['seed=3', 'data.name=mnist'], 'vae-mnist-seed3'),
    # What a run may resume with, and how long it is, are no part of its name.
    (['num_steps=40', 'log_every=20', 'evaluation.every=0', 'tracker=wandb'], 'vae-digits-seed0'),
    (['optimizer.learning_rate=3e-4'], 'vae-digits-learning_rate=0.0003-seed0'),
    (['objective.beta=2', 'network.hidden=(8,4)'], 'vae-digits-hidden=8x4-beta=2.0-seed0'),
    (['objective.beta=2', 'objective.beta=3'], 'vae-digits-beta=3.0-seed0'),
    (['objective.beta=1.0'], 'vae-digits-seed0'),
    (['data.name=npz', 'data.path=/some/faces.npz'], 'vae-npz-faces-seed0'),
    (['data.name=mnist', 'data.path=/some/where'], 'vae-mnist-seed0'),
    (['init_from=/there/vae-digits-seed0'], 'vae-digits-init_from=vae-digits-seed0-seed0'),
  ],
)
def test_a_run_without_a_folder_is_called_by_what_was_chosen(
  overrides: list[str], name: str
) -> None:
  arguments = [f'--config.{override}' for override in overrides]
  config = configuration.load(VAE, None, arguments)
  assert default_workdir(VAE, config) == Path('runs') / name


def test_both_players_of_one_rate_are_named_once() -> None:
  gan = VAE.replace('vae', 'gan')
  config = configuration.load(gan, None, ['--config.optimizer.learning_rate=1'])
  assert default_workdir(gan, config) == Path('runs/gan-digits-learning_rate=1.0-seed0')


def test_a_config_knows_its_experiment_unless_it_has_a_name(tmp_path: Path) -> None:
  config = configuration.load(f'{VAE}:mnist', None, [])
  assert config.experiment == 'vae'
  assert configuration.load(VAE, None, ['--config.experiment=mine']).experiment == 'mine'
  configuration.save(config, tmp_path)
  assert configuration.load(None, tmp_path, []).experiment == 'vae'
  other = configuration.load(f'{VAE}:mnist', None, ['--config.experiment=other'])
  configuration.agree(other, tmp_path)


def test_columns_are_called_by_experiment_and_what_differs(tmp_path: Path) -> None:
  """Two experiments of one objective, one of them at two rates; three seeds of each."""
  found = []
  for experiment, rate in (('edm', 0.1), ('edm', 0.2), ('flow_matching', 0.1)):
    for seed in (0, 1):
      folder = tmp_path / f'{experiment}{rate}{seed}'
      fields = {'experiment': experiment, 'seed': seed, 'optimizer': {'learning_rate': rate}}
      fields |= {'evaluation': {'every': int(10 * rate)}, 'batch_size': len(experiment)}
      found += runs.read(workdir(folder, Number(FID._replace(seed=seed), 1.0), **fields))
  assert list(groups.group(found)) == [
    'edm on digits, seeds 0, 1, optimizer.learning_rate=0.1',
    'edm on digits, seeds 0, 1, optimizer.learning_rate=0.2',
    'flow_matching on digits, seeds 0, 1',
  ]


def test_older_runs_are_called_by_their_objective(tmp_path: Path) -> None:
  found = [run for seed in (0, 1) for run in runs.read(workdir(tmp_path / f'{seed}', seed=seed))]
  assert list(groups.group(found)) == ['vae on digits, seeds 0, 1']
