"""A report holds the numbers of its runs, needs no network, and survives unfinished workdirs."""

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxgen import images
from jaxgen.evaluation.protocol import Number, Protocol
from jaxgen.main import main as train
from jaxgen.report import groups, runs, tables
from jaxgen.report import page as page_module
from jaxgen.report.__main__ import main as report
from jaxgen.training import film as film_of

ROOT = Path(__file__).parent.parent
FID = Protocol('fid_classifier', 'aaaa', 'digits', 'test', 'bbbb', 359, 500, 'none', 0)
NAME = 'fid_classifier:aaaa@v2[digits/test:bbbb n=500 against 359 seed=0]'
CONFIG = {
  'seed': 0,
  'num_steps': 20,
  'batch_size': 10,
  'data': {'name': 'digits', 'path': ''},
  'objective': {'name': 'vae', 'beta': 1.0},
}


def workdir(folder: Path, fid: Number | None = None, **config: Any) -> Path:
  """A run's folder as training and evaluation leave it."""
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(json.dumps(CONFIG | config))
  records = [
    {'step': step, 'train/loss': 100.0 - step, 'images_per_second': 50.0} for step in (10, 20)
  ]
  records.append({'step': 20, 'validation/elbo_nats': -81.5})
  (folder / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in records))
  sheet = images.grid(np.zeros((4, 8, 8, 1), np.uint8))
  images.save_png(folder / 'figures' / 'samples.png', sheet)
  if fid:
    numbers = [fid.to_json(), Number(FID._replace(metric='kid_classifier'), 0.25, 0.015).to_json()]
    classes = {'histogram': [9, 0, 3], 'data': {'test': [4, 4, 4]}, 'missing': {'test': [1]}}
    scores = {'numbers': numbers, 'classes': classes}
    evaluation = {'step': 20, 'ema': {'elbo_nats': -82.25}, 'raw': {}, 'ema_scores': scores}
    evaluation['cost'] = {'parameters': 123_456, 'network_evaluations_per_sample': 1}
    (folder / 'evaluation.json').write_text(json.dumps(evaluation))
  return folder


def made(tmp_path: Path, *workdirs: Path, code: int = 0) -> str:
  """The page of these workdirs."""
  output = tmp_path / 'report.html'
  assert report([*map(str, workdirs), f'--output={output}']) == code
  return output.read_text() if code == 0 else ''


def text(page: str) -> str:
  """What a reader sees."""
  visible = re.sub(r'<style>.*?</style>|<[^>]*>', ' ', page, flags=re.DOTALL)
  return ' '.join(html.unescape(visible).split())


def test_two_runs_side_by_side(tmp_path: Path) -> None:
  a = workdir(tmp_path / 'first', Number(FID, 12.5))
  b = workdir(tmp_path / 'second', Number(FID, 7.75), objective={'name': 'gan', 'latent': 64})
  page = made(tmp_path, a, b)
  seen = text(page)
  for words in (
    '2 models, 2 runs',
    f'{NAME} 12.5 7.75',
    '0.250 ± 0.015',
    'elbo_nats -82.25 -82.25',
    'parameters 123,456 123,456',
    'training_seconds 4 4',
    'first step 20',
    'real images',
    'Missing: 1',
    "objective.name 'vae' 'gan'",
    'objective.latent – 64',
    'its step stands at the head of the column',
  ):
    assert words in seen, words
  assert 'class="best"' not in page  # without an error nothing is told apart
  assert page.count('alt="loss over steps, training"') == 2
  assert 'elbo_nats over steps' not in page  # one point is no curve


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
  page = made(tmp_path, workdir(tmp_path / 'run', Number(FID, 1.5)))
  loaded = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
  assert len(loaded) >= 5
  assert all(link.startswith('data:image/') for link in loaded)
  assert not re.search(r'https?://|<script|@import|url\(', page)
  assert 'prefers-color-scheme: dark' in page
  assert page == made(tmp_path, tmp_path / 'run')


def test_names_are_text(tmp_path: Path) -> None:
  run = workdir(tmp_path / '<script>alert(1)', data={'name': '<b>x', 'path': ''})
  page = made(tmp_path, run)
  assert '<script>' not in page
  assert '<b>' not in page
  assert '&lt;script&gt;alert(1)' in page


def test_seeds_become_mean_and_deviation(tmp_path: Path) -> None:
  runs = [
    workdir(tmp_path / f's{seed}', Number(FID._replace(seed=seed), value), seed=seed)
    for seed, value in enumerate((10.0, 12.0, 14.0))
  ]
  seen = text(made(tmp_path, *runs))
  assert '1 models, 3 runs' not in seen
  assert '1 model, 3 runs' in seen
  assert 'vae on digits, seeds 0, 1, 2' in seen
  assert f'{NAME.replace("seed=0", "seeds=0,1,2")} 12.0 ± 2.0 (3 runs)' in seen


def test_sets_of_samples_become_mean_and_deviation_within_a_run(tmp_path: Path) -> None:
  def evaluated(name: str, *values: float, **config: Any) -> Path:
    folder = workdir(tmp_path / name, Number(FID, 0.0), **config)
    evaluation = json.loads((folder / 'evaluation.json').read_text())
    numbers = [Number(FID._replace(seed=seed), value) for seed, value in enumerate(values)]
    evaluation['ema_scores']['numbers'] = [number.to_json() for number in numbers]
    (folder / 'evaluation.json').write_text(json.dumps(evaluation))
    return folder

  one = evaluated('one', 10.0, 12.0, 14.0)
  assert 'seeds=0,1,2] 12.0 ± 2.0 (3 sets)' in text(made(tmp_path, one))
  other = evaluated('other', 15.0, 17.0, seed=1)
  assert 'seeds=0,1,2] 14.0 ± 2.8 (2 runs)' in text(made(tmp_path, one, other))


def test_real_images_have_a_column(tmp_path: Path) -> None:
  run = workdir(tmp_path / 'run', Number(FID, 12.5, 0.5))
  other = workdir(tmp_path / 'other', Number(FID, 30.0, 0.5), batch_size=20)
  for folder in (run, other):
    path = folder / 'evaluation.json'
    evaluation = json.loads(path.read_text())
    real = {'numbers': [Number(FID, 3.25, 0.25, sets=10).to_json()]}
    real['fid'] = {'test': {'0': [21.5, 1.5, 10], '2': [4.0, 0.0, 1]}}
    real['reasons'] = {'train': 'the test split has 359 images, and 500 are needed'}
    evaluation['ema_scores']['real'] = real
    evaluation['ema_scores']['classes']['fid'] = {'test': {'0': 60.25, '1': 70.5, '2': 80.0}}
    path.write_text(json.dumps(evaluation))
  page = made(tmp_path, run, other)
  seen = text(page)
  assert f'{NAME} 12.50 ± 0.50 30.00 ± 0.50 3.25 ± 0.25 (10 sets)' in seen
  assert 'class samples real images 0 60.25 21.5 ± 1.5 1 70.5 – 2 80 4' in seen
  assert 'real images against the train split : the test split has 359 images' in seen
  assert re.findall(r'class="best"[^>]*>([^<]*)', page) == ['12.50 ± 0.50']


@pytest.mark.parametrize('differs', [{'fingerprint': 'cccc'}, {'version': 1}, {'reference': 'x'}])
def test_numbers_of_two_protocols_never_share_a_row(
  tmp_path: Path, differs: dict[str, Any]
) -> None:
  workdirs = [
    workdir(tmp_path / 'a', Number(FID, 1.0)),
    workdir(tmp_path / 'b', Number(FID._replace(**differs), 2.0), batch_size=20),
  ]
  found = groups.group([run for path in workdirs for run in runs.read(path)])
  rows = [r for r in tables.score_rows(found, 'ema', 'test') if r.protocol.startswith('fid')]
  assert [[summary.value for summary in row.summaries] for row in rows] == [
    [1.0, None],
    [None, 2.0],
  ]
  assert [row.best for row in rows] == [set(), set()]
  assert len({row.protocol for row in rows}) == 2


def test_missing_numbers_have_their_reason(tmp_path: Path) -> None:
  run = workdir(tmp_path / 'run', Number(FID, None, reason='12 images are too few'))
  seen = text(made(tmp_path, run))
  assert f'{NAME} –' in seen
  assert f'{NAME} : 12 images are too few' in seen


def test_unfinished_and_empty_workdirs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
  (tmp_path / 'empty').mkdir()
  begun = workdir(tmp_path / 'begun', num_steps=500)
  (begun / 'evaluation.json').write_text('{"torn')
  with (begun / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 3')
  seen = text(made(tmp_path, tmp_path / 'empty', begun, tmp_path / 'nowhere'))
  assert 'begun: unfinished: step 20 of 500' in seen
  assert 'not evaluated yet: run python -m jaxgen.main --mode=evaluate' in seen
  assert 'evaluation.json cannot be read' in seen
  assert f'Left out: {tmp_path}/empty holds no config.json' in seen
  assert f'{tmp_path}/nowhere is no folder' in seen
  capsys.readouterr()
  made(tmp_path, tmp_path / 'empty', code=2)
  assert capsys.readouterr().err.endswith('jaxgen: there is no run to report\n')


@pytest.mark.parametrize('field', ['step', 'sampler', 'ema', 'ema_scores', 'objective', 'cost'])
def test_a_field_of_another_kind_is_left_out(
  tmp_path: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(page_module, 'histogram', lambda *_: None)
  run = workdir(tmp_path / 'run', Number(FID, 1.5))
  evaluation = json.loads((run / 'evaluation.json').read_text())
  for value in (None, 'x', 3, [1], {'numbers': 3, 'real': [], 'classes': 'x'}):
    (run / 'evaluation.json').write_text(json.dumps(evaluation | {field: value}))
    (found,) = runs.read(run)
    assert tables.tables(groups.group([found]))
    for look in (page_module.head, page_module.missing):
      look([found])
    page_module.classes_of(found)


@pytest.mark.slow
def test_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  from jaxgen.evaluation import scores
  from jaxgen.features import pixels

  chosen = [pixels.build((8, 8, 1))]
  monkeypatch.setattr(scores, 'kinds', lambda *_: (chosen, 'no classifier in this test'))
  run = tmp_path / 'real'
  small = {'num_steps': 2, 'steps_per_call': 1, 'log_every': 1, 'network.hidden': '(8,)'}
  small |= {'evaluation.num_samples': 80, 'evaluation.batch_size': 40}
  fields = [f'--config.{name}={value}' for name, value in small.items()]
  assert train([f'--config={ROOT}/experiments/vae.py', f'--workdir={run}', *fields]) == 0
  assert train(['--mode=evaluate', f'--workdir={run}']) == 0
  results = json.loads((run / 'evaluation.json').read_text())
  assert results['cost']['network_evaluations_per_sample'] == 1
  assert results['cost']['seconds_per_1000_samples'] > 0
  seen = text(made(tmp_path, run))
  for which in ('ema_scores', 'raw_scores'):
    numbers = [Number.from_json(n) for n in results[which]['numbers']]
    fid = next(n for n in numbers if n.protocol.metric == 'fid_pixels')
    assert fid.value > 0
    assert f'{fid.protocol} {fid.value:.4g}' in seen
  assert 'class numbers are left out' in seen
  assert 'Nearest training images' in seen


def test_training_is_a_film_without_loss_and_still_for_who_wants_it(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  run = workdir(tmp_path / 'run')
  sheets = {step: np.full((8, 12, 1), step, np.uint8) for step in (5, 10, 200)}
  for step, sheet in sheets.items():
    film_of.keep(run, 'by_depth', step, sheet)
  page = made(tmp_path, run)
  assert 'alt="by_depth of run at the steps 5, 10, 200"' in page
  (still,) = re.findall(r'reduced-motion: reduce\)" srcset="data:image/webp;base64,([^"]*)', page)
  (moving,) = re.findall(r'<img class="film" src="data:image/webp;base64,([^"]*)', page)
  frames = []
  for content in (moving, still):
    with Image.open(io.BytesIO(base64.b64decode(content))) as file:
      frames.append([np.asarray(one.convert('L')) for one in ImageSequence.Iterator(file)])
  assert [len(one) for one in frames] == [3, 1]
  for frame, sheet in zip(frames[0] + frames[1], [*sheets.values(), sheets[200]], strict=True):
    factor = frame.shape[1] // 12
    np.testing.assert_array_equal(frame[: 8 * factor : factor, ::factor], sheet[..., 0])
  (run / film_of.FOLDER / 'by_depth' / '10.png').write_bytes(b'torn')
  made(tmp_path, run, code=2)
  assert '10.png cannot be read' in capsys.readouterr().err
