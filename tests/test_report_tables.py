"""A table marks what noise cannot explain, and a row holds one definition."""

import json
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from jaxgen.evaluation.protocol import Number
from jaxgen.report import groups, runs, tables
from jaxgen.report.summaries import Summary, summarise

from .test_report import FID, made, text, workdir

REAL = Summary()  # of no real images


def summaries(*pairs: tuple[float, float | None]) -> list[Summary]:
  return [Summary(value, error, error=error) for value, error in pairs]


@pytest.mark.parametrize(
  ('metric', 'values', 'real', 'places'),
  [
    ('fid_pixels', [(10.0, 1.0), (14.0, 1.0)], (1.0, 0.1), {0}),  # 4 > 1.96 √2
    ('fid_pixels', [(10.0, 1.0), (12.7, 1.0)], (1.0, 0.1), set()),
    ('fid_pixels', [(10.0, None), (90.0, 1.0)], (1.0, 0.1), set()),
    ('fid_pixels', [(10.0, 1.0), (11.0, 9.0), (90.0, 1.0)], (1.0, 0.1), set()),
    ('fid_pixels', [(10.0, 1.0), (11.0, None), (90.0, 1.0)], (1.0, 0.1), set()),
    ('fid_pixels', [(10.0, 1.0)], (1.0, 0.1), set()),
    ('precision_pixels', [(0.7, 0.01), (0.8, 0.01)], (0.9, 0.01), {1}),
    ('precision_pixels', [(0.91, 0.001), (0.95, 0.001)], (0.9, 0.01), set()),  # both as the real
    ('precision_pixels', [(0.85, 0.001), (0.95, 0.001)], (0.9, 0.01), {1}),
    ('fid_pixels', [(3.0, 0.1), (2.0, 0.1)], (3.5, 0.1), set()),
    ('fid_pixels', [(3.0, 0.1), (2.0, 0.1)], (None, None), {1}),
    ('authenticity_pixels', [(0.6, 0.001), (0.9997, 0.001)], (0.59, 0.01), set()),
    ('density_pixels', [(0.6, 0.001), (1.22, 0.001)], (0.98, 0.01), set()),
    ('unclaimed_pixels', [(0.6, 0.001), (0.1, 0.001)], (0.05, 0.01), set()),
  ],
)
def test_bold_is_what_noise_cannot_explain(
  metric: str, values: list[Any], real: tuple[float, float], places: set[int]
) -> None:
  assert tables.best(metric, summaries(*values), *summaries(real)) == places


@pytest.mark.parametrize(
  ('better', 'worse'),
  [((40.0, 44.0, 48.0), (50.0, 60.0, 70.0)), ((40.0, 41.0), (49.0, 55.0)), ((3.0, 4.0), (5.0,))],
)
def test_noise_between_groups_of_runs_is_that_of_welchs_test(
  better: tuple[float, ...], worse: tuple[float, ...]
) -> None:
  """Bold where scipy's own test says that chance makes such a lead in less than one of twenty."""
  for shift in range(0, 60, 4):
    values = (better, tuple(value + shift for value in worse))
    found = tables.best('fid_pixels', [summarise([[v] for v in of]) for of in values], REAL)
    p = scipy.stats.ttest_ind(*values, equal_var=False).pvalue if len(worse) > 1 else 1.0
    assert found == ({0} if p < 0.05 else set()), (shift, p)


def test_arrows_point_where_better_is() -> None:
  for metric, arrow in {
    **dict.fromkeys(('fid', 'kid', 'class_kl_nats', 'class_kl_corrected_nats'), '↓'),
    **dict.fromkeys(('precision', 'recall', 'inception_score', 'label_accuracy'), '↑'),
    **dict.fromkeys(('density', 'authenticity', 'unclaimed', 'distance_ratio'), '≈ real'),
  }.items():
    assert tables.label(f'{metric}_classifier').endswith(f' {arrow}'), metric


def test_means_of_two_definitions_share_no_row(tmp_path: Path) -> None:
  def trained(folder: str, mean: str, **objective: Any) -> Path:
    folder = workdir(tmp_path / folder, Number(FID, 1.0), objective=objective)
    evaluation = json.loads((folder / 'evaluation.json').read_text())
    evaluation['ema'] = {mean: 1.5}
    (folder / 'evaluation.json').write_text(json.dumps(evaluation))
    return folder

  folders = [
    trained('a', 'loss', name='ddpm', weighting='simple'),
    trained('b', 'loss', name='flow_matching'),
    trained('c', 'elbo_nats', name='vae', likelihood='bernoulli'),
    trained('d', 'elbo_nats', name='vae', likelihood='gaussian'),
    trained('e', 'bits_per_dimension', name='vae', likelihood='discretized'),
    trained('f', 'bits_per_dimension', name='ddpm', weighting='variational'),
  ]
  found = groups.group([run for path in folders for run in runs.read(path)])
  rows = tables.plain_rows(found, lambda run: run.evaluation['ema'])
  assert [[summary.value is not None for summary in row.summaries] for row in rows] == [
    [place == row for place in range(6)] if row < 4 else [False] * 4 + [True] * 2
    for row in range(5)
  ]
  assert [row.protocol for row in rows[2:4]] == [
    'objective.likelihood=bernoulli', 'objective.likelihood=gaussian'
  ]  # fmt: skip


def test_means_of_pixels_in_black_and_white_share_no_row_with_others(tmp_path: Path) -> None:
  folders = []
  for way in ('none', 'static', 'dynamic'):
    data = {'name': 'digits', 'path': '', 'binarize': way}
    folder = workdir(tmp_path / way, Number(FID, 1.0), data=data)
    evaluation = json.loads((folder / 'evaluation.json').read_text())
    evaluation['ema'] = {'bits_per_dimension': 1.5}
    (folder / 'evaluation.json').write_text(json.dumps(evaluation))
    folders.append(folder)
  found = groups.group([run for path in folders for run in runs.read(path)])
  rows = tables.plain_rows(found, lambda run: run.evaluation['ema'])
  assert [row.protocol for row in rows] == ['', 'data.binarize=static', 'data.binarize=dynamic']
  assert len(tables.plain_rows(found, lambda run: {'training_steps': 3})) == 1


def test_errors_of_translations_of_other_pairs_share_no_row(tmp_path: Path) -> None:
  data = {'name': 'digits', 'path': '', 'pair': 'half'}
  (run,) = runs.read(workdir(tmp_path / 'run', Number(FID, 1.0), data=data))
  assert {tables.definition(name, run) for name in ('l1', 'l1_back')} == {'data.pair=half'}


def test_equal_values_spread_by_nothing_and_no_products_are_a_dash(tmp_path: Path) -> None:
  assert summarise([[0.1], [0.1], [0.1]]).text == '0.1 ± 0'
  assert Summary(0.9997, 1e-17).text == '0.9997 ± 0'
  assert Summary(0.00045, 0.00012).text == '0.00045 ± 0.00012'
  assert Summary(0.0, 0.0).text == '0 ± 0'
  run = workdir(tmp_path / 'run')
  with (run / 'metrics.jsonl').open('a') as file:
    file.write(json.dumps({'step': 20, 'model_flops_utilization': 0.0}) + '\n')
  assert 'training_model_flops_utilization –' in text(made(tmp_path, run))


def test_the_error_of_a_mean_is_no_less_than_its_samples_give() -> None:
  one = summarise([[10.0]], 0.5)
  assert (one.spread, one.error) == (0.5, 0.5)
  runs = summarise([[10.0], [14.0]], 0.5)
  assert (runs.of, runs.error) == ('2 runs', pytest.approx(2.0))
  sets = summarise([[10.0, 10.0, 10.0, 10.0]], 0.5)
  assert (sets.of, sets.spread, sets.error) == ('4 sets', 0.0, pytest.approx(0.25))
