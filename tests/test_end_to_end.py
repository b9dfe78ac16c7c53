"""Every experiment file, found in experiments/, trains, resumes, samples and evaluates."""

import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from jaxgen import configuration
from jaxgen.fields import FIRST_STAGES, flatten
from jaxgen.main import main
from tests.examples import EXPERIMENTS, TINY, objective_of, one_of_each, one_of_each_objective

# Overrides that shrink an experiment, applied where its config has the field.
SMALL = TINY | {
  'num_steps': 4,
  'steps_per_call': 2,
  'log_every': 2,
  'checkpoint.every': 2,
  'evaluation.every': 2,
  'evaluation.batch_size': 50,
  'evaluation.validation_images': 20,
  'evaluation.training_samples': 0,
  'evaluation.num_samples': 0,
  'optimizer.warmup_steps': 1,
  'objective.schedule': 'cosine',
}


def own_fields(experiment: Path) -> list[str]:
  """The fields of an experiment, without those of the run that it stands on."""
  fields = flatten(configuration.execute(str(experiment)).to_dict())
  return [name for name, _ in fields if name.partition('.')[0] not in FIRST_STAGES]


def shrunk(experiment: Path, folder: Path) -> list[str]:
  """Command-line overrides that make an experiment tiny, with the run that it stands on, if any."""
  fields = own_fields(experiment)
  overrides = [f'--config.{name}={value}' for name, value in SMALL.items() if name in fields]
  for stage, name in (('autoencoder', 'autoencoder'), ('teacher', 'flow_matching')):
    if f'objective.{stage}' in fields:
      first, workdir = experiment.parent / f'{name}.py', folder / stage
      assert main([f'--config={first}', f'--workdir={workdir}', *shrunk(first, folder)]) == 0
      overrides.append(f'--config.objective.{stage}={workdir}')
  return overrides


def records(workdir: Path) -> list[dict]:
  """The lines of metrics.jsonl."""
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def schedules(experiment: Path) -> list[str]:
  """The fields that schedule rates over the number of steps."""
  return [name for name in own_fields(experiment) if name.endswith('optimizer.schedule')]


def bits(workdir: Path, step: int) -> list[bytes]:
  """Parameters, average and memory as they were saved after this step."""
  state = ocp.StandardCheckpointer().restore(workdir / 'checkpoints' / str(step))
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.mark.parametrize('experiment', one_of_each_objective())
def test_experiment_trains_resumes_to_the_same_bits_samples_and_evaluates(
  experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  """Stopped after two updates of four, or not: what is saved at the end is bitwise equal."""
  fields = shrunk(experiment, tmp_path)
  fields += [f'--config.{schedule}=constant' for schedule in schedules(experiment)]

  def train(workdir: Path, steps: int, *more: str) -> str:
    command = [f'--config={experiment}', f'--workdir={workdir}', *fields, *more]
    assert main([*command, f'--config.num_steps={steps}']) == 0
    return capsys.readouterr().out

  workdir = tmp_path / 'run'
  assert 'Finished: step 2 of 2' in train(workdir, 2)
  said = train(workdir, 4)
  assert 'Resuming from step 2' in said
  assert 'Finished: step 4 of 4' in said
  assert 'Resuming from step 4' in train(workdir, 4)
  train(tmp_path / 'whole', 4, '--config.evaluation.every=0')
  assert bits(workdir, 4) == bits(tmp_path / 'whole', 4)

  logged = [r for r in records(workdir) if any(name.startswith('train/') for name in r)]
  assert [r['step'] for r in logged] == [2, 4]
  assert all(np.isfinite(list(r.values())).all() for r in records(workdir))
  assert any(name.startswith('validation/') for r in records(workdir) for name in r)

  assert main(['--mode=sample', f'--workdir={workdir}', '--num_samples=7']) == 0
  with np.load(workdir / 'samples.npz', allow_pickle=False) as file:
    samples = file['samples']
  assert samples.shape == (7, 8, 8, 1)
  assert samples.dtype == np.uint8
  with Image.open(workdir / 'grid.png') as picture:
    assert min(picture.size) > 100

  capsys.readouterr()
  assert main(['--mode=evaluate', f'--workdir={workdir}']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) <= 12
  assert lines[-1] == f'all numbers, with their protocols: {workdir}/evaluation.json'
  results = json.loads((workdir / 'evaluation.json').read_text())
  assert results['test_images'] == 359
  assert all(np.isfinite(v) for part in ('ema', 'raw') for v in results[part].values())
  jax.clear_caches()  # a process that holds the compiled code of all experiments breaks down


OTHERS = [path for path in EXPERIMENTS if path not in one_of_each(objective_of)]


@pytest.mark.slow
@pytest.mark.parametrize('experiment', OTHERS, ids=lambda path: path.stem)
def test_other_experiments_of_the_same_objectives_train(experiment: Path, tmp_path: Path) -> None:
  workdir = tmp_path / 'run'
  command = [f'--config={experiment}', f'--workdir={workdir}', *shrunk(experiment, tmp_path)]
  assert main(command) == 0
  assert [r['step'] for r in records(workdir)][-1] == 4
  assert all(np.isfinite(list(r.values())).all() for r in records(workdir))
  jax.clear_caches()
