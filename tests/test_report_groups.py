"""A column is one model under one sampler; its runs differ in the seed of their training."""

import json
from pathlib import Path
from typing import Any

from jaxgen.evaluation.protocol import Number
from jaxgen.report import groups, runs

from .test_report import FID, NAME, made, text, workdir


def evaluated(folder: Path, name: str, sampler: dict[str, Any], *numbers: Number) -> None:
  """Another evaluation of a run, as --mode=evaluate leaves it."""
  stored = [number.to_json() for number in numbers]
  evaluation = {'step': 20, 'checkpoint': 'last', 'sampler': sampler, 'ema': {}, 'raw': {}}
  evaluation['ema_scores'] = {'numbers': stored, 'classes': {}}
  (folder / name).write_text(json.dumps(evaluation))


def test_samplers_are_columns_and_not_seeds(tmp_path: Path) -> None:
  run = workdir(tmp_path / 'run', sampler={'name': 'ancestral', 'steps': 1000})
  slow, fast = (FID._replace(sampler=name) for name in ('ancestral steps=1000', 'ddim steps=5'))
  evaluated(run, 'evaluation.json', {'name': 'ancestral', 'steps': 1000}, Number(slow, 10.0))
  evaluated(run, 'evaluation-ddim-steps5.json', {'name': 'ddim', 'steps': 5}, Number(fast, 90.0))
  evaluated(run, 'evaluation-best.json', {'name': 'ddim', 'steps': 5}, Number(fast, 1.0))
  best = json.loads((run / 'evaluation-best.json').read_text()) | {'checkpoint': 'best'}
  (run / 'evaluation-best.json').write_text(json.dumps(best))
  vae = workdir(tmp_path / 'vae', Number(FID, 30.0), batch_size=20)
  page = made(tmp_path, run, vae)
  seen = text(page)
  # One row for all, whatever their samplers; a column for each.
  assert f'{NAME} 10 90 30 –' in seen
  assert '2 models, 2 runs' in seen
  assert 'run, ancestral steps=1000 ancestral steps=1000, step 20' in seen
  assert 'run, ddim steps=5 ddim steps=5, step 20' in seen
  assert "sampler.name 'ancestral' 'ddim' –" in seen
  # What is of the training is there once.
  assert page.count('alt="Samples of run"') == 1
  assert len(groups.group(runs.read(run))) == 2


def test_older_evaluations_name_their_sampler_among_the_objective(tmp_path: Path) -> None:
  old = {'name': 'ddpm', 'sampler': 'ancestral', 'sampling_steps': 1000, 'timesteps': 1000}
  paths = [workdir(tmp_path / name, Number(FID, 1.0), objective=old) for name in ('a', 'b')]
  path = paths[1] / 'evaluation.json'
  used = {'objective': old | {'sampler': 'ddim', 'sampling_steps': 5}}
  path.write_text(json.dumps(json.loads(path.read_text()) | used))
  found = groups.group([run for path in paths for run in runs.read(path)])
  assert [members[0].sampler for members in found.values()] == [
    'ancestral steps=1000',
    'ddim steps=5',
  ]


def test_what_an_evaluation_does_not_say_is_the_runs(tmp_path: Path) -> None:
  """A field that older configs lacked is not what they had where this one says otherwise."""
  chosen = {'name': 'adversarial', 'conditional': 'projection'}
  run = workdir(
    tmp_path / 'run', objective=chosen, sampler={'truncation': 0.7}, evaluation={'raw': False}
  )
  for sampler, expected in (({}, 0.7), ({'truncation': 0.5}, 0.5)):
    evaluated(run, 'evaluation.json', sampler, Number(FID, 1.0))
    (found,) = runs.read(run)
    assert found.config['objective.conditional'] == 'projection'
    assert found.config['sampler.truncation'] == expected
    assert found.config['evaluation.raw'] is False


def test_another_inference_is_another_column(tmp_path: Path) -> None:
  """Seeds whose posteriors were fitted longer are no seeds of one number; what is watched is."""
  paths = [workdir(tmp_path / str(seed), Number(FID, 1.0), seed=seed) for seed in range(3)]
  for path, looked in zip(paths, ({}, {'batch_size': 7}, {'inference_steps': 1000}), strict=True):
    evaluation = json.loads((path / 'evaluation.json').read_text())
    evaluation['evaluation'] = {'inference_steps': 100} | looked
    (path / 'evaluation.json').write_text(json.dumps(evaluation))
  found = groups.group([run for path in paths for run in runs.read(path)])
  assert [len(members) for members in found.values()] == [2, 1]


def test_one_seed_trained_twice_is_one_run(tmp_path: Path) -> None:
  paths = [
    workdir(tmp_path / name, Number(FID, value), seed=seed)
    for name, value, seed in (('a', 10.0, 0), ('again', 90.0, 0), ('b', 14.0, 1))
  ]
  seen = text(made(tmp_path, *paths))
  assert f'{NAME} 12.0 ± 2.8 (2 runs)' in seen
  assert f'{paths[1]} has the config and the seed of {paths[0]}: the two count once' in seen
  (paths[0] / 'evaluation.json').unlink()
  assert f'{NAME} 52 ± 54 (2 runs)' in text(made(tmp_path, *paths))  # the evaluated one counts
