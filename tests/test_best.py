"""Samples are scored while a model trains, and the best step is kept beside the last."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxgen import configuration
from jaxgen.evaluation import scores
from jaxgen.features import pixels
from jaxgen.main import main
from jaxgen.training import checkpoint, sums
from tests.examples import EXPERIMENTS

ROOT = Path(__file__).parent.parent
SMALL = {
  'num_steps': 8,
  'steps_per_call': 1,
  'log_every': 2,
  'network.hidden': '(8,)',
  'checkpoint.keep': 1,
  'evaluation.every': 2,
  'evaluation.batch_size': 40,
  'evaluation.validation_images': 20,
  'evaluation.training_samples': 80,
  'evaluation.num_samples': 70,
}


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
  """Features that need no training, and a cache of the test's own."""
  monkeypatch.setattr(scores, 'kinds', lambda *_: ([pixels.build((8, 8, 1))], 'not in this test'))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def train(workdir: Path, **fields: Any) -> list[dict[str, Any]]:
  """Trains a small VAE; the evaluations on record."""
  named = SMALL | {name.replace('__', '.'): value for name, value in fields.items()}
  overrides = [f'--config.{name}={value}' for name, value in named.items()]
  assert main([f'--config={ROOT}/experiments/vae.py', f'--workdir={workdir}', *overrides]) == 0
  records = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  return [record for record in records if 'validation/elbo_bernoulli_surrogate_nats' in record]


@pytest.mark.slow
def test_samples_are_scored_and_the_best_step_is_kept(tmp_path: Path) -> None:
  found = train(tmp_path, optimizer__learning_rate=0.5)  # wild enough for the best not to be last
  assert [record['step'] for record in found] == [2, 4, 6, 8]
  (fid,) = (name for name in found[0] if name.startswith('score/fid_pixels'))
  distances = [record[fid] for record in found]
  best = 2 * (1 + int(np.argmin(distances)))
  assert checkpoint.steps(tmp_path / 'best') == [best]
  assert checkpoint.steps(tmp_path / 'checkpoints') == [8]
  assert sums.damage(tmp_path / 'best' / str(best)) is None

  # The best step is chosen on samples of its own: those that are reported are others.
  assert (
    main(['--mode=evaluate', f'--workdir={tmp_path}', '--config.evaluation.num_samples=80']) == 0
  )
  last = json.loads((tmp_path / 'evaluation.json').read_text())
  alone = {f'score/{n["protocol"]["name"]}': n['value'] for n in last['ema_scores']['numbers']}
  assert alone[fid] != found[-1][fid]
  assert alone[fid] == pytest.approx(found[-1][fid], rel=0.5)

  arguments = [f'--workdir={tmp_path}', '--checkpoint=best']
  assert main(['--mode=evaluate', *arguments]) == 0
  assert json.loads((tmp_path / 'evaluation.json').read_text()) == last
  assert json.loads((tmp_path / 'evaluation-best.json').read_text())['step'] == best


def test_better_may_be_higher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
  fields = {
    'checkpoint__best': '-validation/elbo_bernoulli_surrogate_nats',
    'evaluation__training_samples': 0,
  }
  found = train(tmp_path, **fields)
  best = max(found, key=lambda record: record['validation/elbo_bernoulli_surrogate_nats'])['step']
  assert checkpoint.steps(tmp_path / 'best') == [best]
  capsys.readouterr()
  assert main(['--mode=sample', f'--workdir={tmp_path}', '--checkpoint=best']) == 0
  assert f'100 samples of step {best}, 1 network evaluation each: ' in capsys.readouterr().out


@pytest.mark.parametrize('path', EXPERIMENTS, ids=lambda path: path.stem)
def test_the_step_that_an_experiment_keeps_is_the_better_one(path: Path) -> None:
  """Bounds and probabilities in nats are better higher, all else that is named is lower."""
  config = configuration.execute(str(path))
  best = config.checkpoint.best
  higher = re.match(r'-?validation/(.*elbo|.*log_probability|.*log_density|accuracy)', best)
  assert best.startswith('-') == bool(higher)
  # The first of all held-out numbers is an error of diffusion models alone.
  diffusion = 'diffusion', 'latent_diffusion', 'reflow'
  assert best != 'validation/' or config.objective.name in diffusion


def test_a_resumed_run_knows_the_best_so_far(tmp_path: Path) -> None:
  fields = {'checkpoint__best': '-validation/kl_nats', 'evaluation__training_samples': 0}
  train(tmp_path, num_steps=4, **fields)
  found = train(tmp_path, **fields)
  best = max(found, key=lambda record: record['validation/kl_nats'])['step']
  assert best <= 4, 'the first half must hold the best, for this test to tell anything'
  assert checkpoint.steps(tmp_path / 'best') == [best]


def test_a_name_of_no_number_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
  train(tmp_path, checkpoint__best='score/fdi')
  assert (
    "'score/fdi' is none of validation/elbo_bernoulli_surrogate_nats" in capsys.readouterr().out
  )
  assert main(['--mode=sample', f'--workdir={tmp_path}', '--checkpoint=best']) == 2
  error = capsys.readouterr().err
  assert 'holds no best checkpoint' in error
  assert "config.checkpoint.best='score/fdi'" in error


def test_several_sets_of_samples(tmp_path: Path) -> None:
  train(tmp_path)
  assert main(['--mode=evaluate', f'--workdir={tmp_path}', '--config.evaluation.seeds=3']) == 0
  found = json.loads((tmp_path / 'evaluation.json').read_text())['ema_scores']
  start, end = 'fid_pixels', 'seeds=0,1,2]'
  (mean,) = (
    mean
    for mean in found['means']
    if mean['protocol'].startswith(start)
    and '/test:' in mean['protocol']
    and mean['protocol'].endswith(end)
  )
  values = [
    number['value']
    for number in found['numbers']
    if (number['protocol']['metric'], number['protocol']['split']) == ('fid_pixels', 'test')
  ]
  assert len(set(values)) == 3
  assert mean['mean'] == pytest.approx(np.mean(values))
  assert mean['deviation'] == pytest.approx(np.std(values, ddof=1))
