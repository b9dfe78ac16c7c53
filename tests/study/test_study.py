"""A study runs, fails in part, is stopped and resumed, by its command line and real processes."""

import contextlib
import html
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from jaxgen.evaluation.provenance import parameters_hash
from jaxgen.model import load
from jaxgen.report.summaries import Summary
from jaxgen.study import cells, results
from jaxgen.study.__main__ import main
from jaxgen.training.workdir import claim

pytestmark = pytest.mark.slow  # they start processes that train
ROOT = Path(__file__).parents[2]
SMALL = {
  'num_steps': 8,
  'reduction': 'ordered',
  'steps_per_call': 2,
  'batch_size': 16,
  'log_every': 2,
  'checkpoint': {'every': 4, 'best': ''},
  'network': {'hidden': (16,)},
  'evaluation': {'every': 0, 'training_samples': 0, 'num_samples': 200, 'validation_images': 20},
}


class Made(NamedTuple):
  """A study that has ended: its command line, folder, exit code and words."""

  arguments: list[str]
  folder: Path
  code: int
  out: str
  err: str


def command(folder: Path, **fields: Any) -> list[str]:
  """The arguments that run a study of a VAE; its file lies beside the study's folder."""
  study = {
    'title': 'Rates < 1',
    'models': {'vae': {'experiment': f'{ROOT}/experiments/vae.py', 'overrides': {}}},
    'overrides': SMALL,
    'axes': {'rate': {'optimizer': {'learning_rate': (1e30, 1e-3)}}},
    'seeds': (0, 1),
    'numbers': ('fid_classifier', 'elbo_bernoulli_surrogate_nats'),
    'x': 'rate',
    'log': ('rate',),
  }
  path = folder.with_suffix('.py')
  made = f'ml_collections.ConfigDict({study | fields!r})'
  path.write_text(f'import ml_collections\ndef get_config(): return {made}\n')
  return [f'--config={path}', f'--workdir={folder}']


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
  """Two rates, of which the first diverges, and two seeds of each."""
  folder = tmp_path_factory.mktemp('made') / 'study'
  arguments = command(folder)
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    code = main(arguments)
  return Made(arguments, folder, code, out.getvalue(), err.getvalue())


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(made: Made) -> None:
  assert made.code == 1
  assert re.search(r'jaxgen: 2 of 4 cells failed, vae-rate1e\+30-seed0 first: .*at step', made.err)
  assert 'tries them again' in made.err
  study = json.loads((made.folder / results.FILE).read_text())
  assert [cell['status'] for cell in study['cells']] == ['failed'] * 2 + ['finished'] * 2
  assert 'is nan' in study['cells'][0]['reason'] or 'is inf' in study['cells'][0]['reason']
  assert study['problems'][0].startswith('vae-rate1e+30-seed0 failed: ')


def test_progress_is_said_in_a_few_lines(made: Made) -> None:
  lines = made.out.splitlines()
  assert len(lines) == 1 + 3 * 4 - 1 + 1
  assert lines[0] == f'Rates < 1: 4 cells in {made.folder}, 4 to run here'
  assert lines[1] == '[1/4] vae rate=1e+30 seed 0'
  assert re.fullmatch(r'\[2/4\] vae rate=0.001 seed 0: finished \(\d+:\d\d\)', lines[5])
  assert re.fullmatch(r'\[2/4\] 2 to go, ETA \d+:\d\d', lines[6])
  assert lines[-1].startswith(f'2 of 4 cells: {made.folder}/study.html')


def test_the_table_has_the_numbers_of_the_cells(made: Made) -> None:
  study = json.loads((made.folder / results.FILE).read_text())
  workdirs = [made.folder / 'runs' / f'vae-rate0.001-seed{seed}' for seed in (0, 1)]
  found = [json.loads((folder / 'evaluation.json').read_text()) for folder in workdirs]
  bounds = [one['ema']['elbo_bernoulli_surrogate_nats'] for one in found]
  row = next(r for r in study['table'] if r['number'].startswith('elbo'))
  assert row['groups'] == {
    'rate=0.001': {
      'mean': pytest.approx(np.mean(bounds)),
      'spread': pytest.approx(abs(bounds[0] - bounds[1]) / 2**0.5),
      'spread_is': 'deviation over training runs',
      'seeds': {'0': bounds[0], '1': bounds[1]},
    }
  }
  distances = [
    number['value']
    for one in found
    for number in one['ema_scores']['numbers']
    if number['protocol']['metric'] == 'fid_classifier' and number['protocol']['split'] == 'test'
  ]
  text = (made.folder / 'study.md').read_text()
  assert f'({Summary(distances[0]).text}; {Summary(distances[1]).text})' in text
  assert '| rate=1e+30 (2 of 2 seeds missing) | – | – |' in text
  assert '± is the deviation over training runs. Every seed stands in brackets.' in text
  assert re.search(r'fid_classifier: `fid_classifier:\w+@v\d+\[digits/test:\w+ n=200 ', text)
  *_, command, _, made_with = text.splitlines()
  assert re.fullmatch(r'`python -m jaxgen.study --config=\S+`', command)
  assert re.match(r'jaxgen .+, revision .+; .+, cores: \d+', made_with)
  row = next(r for r in study['table'] if r['number'] == 'training_teraflops')
  work = 1e-12 * found[0]['cost']['training_flops_per_image'] * 8 * 16
  assert row['groups']['rate=0.001']['mean'] == pytest.approx(work)


def test_a_cell_is_the_command_line_that_it_names(made: Made, tmp_path: Path) -> None:
  """Run by hand, it gives the same bits, whose hash is in run.json, evaluation and study."""
  study = json.loads((made.folder / results.FILE).read_text())
  cell = study['cells'][2]
  command = [*cell['arguments'], f'--workdir={tmp_path}/run', '--config.cpu_devices=4']
  # In a process of its own, as a cell is: tests compile otherwise.
  subprocess.run([sys.executable, '-m', 'jaxgen.main', *command], cwd=ROOT, check=True)
  by_hand = json.loads((tmp_path / 'run' / 'run.json').read_text())['final']
  trained = made.folder / 'runs' / cell['name']
  final = json.loads((trained / 'run.json').read_text())['final']
  evaluation = json.loads((trained / 'evaluation.json').read_text())
  assert final['step'] == 8
  assert by_hand == final  # on four devices, as the reduction is ordered
  for name, parameters in (('parameters_sha256', 'raw'), ('ema_sha256', 'ema')):
    expected = parameters_hash(load(trained, parameters=parameters).params)
    assert final[name] == evaluation[name] == cell[name] == expected
  assert final['parameters_sha256'] != final['ema_sha256']
  assert final['parameters_sha256'] != study['cells'][3]['parameters_sha256']


def test_the_page_shows_every_seed_and_needs_nothing_from_elsewhere(made: Made) -> None:
  page = (made.folder / 'study.html').read_text()
  loaded = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
  assert all(link.startswith('data:image/') for link in loaded)
  seen = ' '.join(
    html.unescape(re.sub(r'<style>.*?</style>|<[^>]*>', ' ', page, flags=re.S)).split()
  )
  assert '<h1>Rates &lt; 1</h1>' in page
  for words in (
    'vae-rate1e+30-seed0 failed: ',
    'rate=1e+30 2 of 2 seeds missing – –',
    'training_teraflops',
  ):
    assert words in seen, words
  assert 'Samples of rate=0.001 and real images' in page
  assert 'Fréchet distance ↓ along rate, fid_classifier:' in page


@pytest.fixture
def half(made: Made, tmp_path: Path) -> tuple[list[str], Path]:
  """A copy of the study's good half, and the command for it."""
  folder = tmp_path / 'half'
  arguments = command(folder, axes={'rate': {'optimizer': {'learning_rate': (1e-3,)}}})
  shutil.copytree(made.folder, folder)
  (folder / results.FILE).unlink()
  return arguments, folder


def test_the_failure_of_another_part_is_not_this_ones(
  made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
  assert main([*made.arguments, '--part=2/4']) == 0  # 1/4 and 3/4 have the rate that diverges
  said = capsys.readouterr()
  assert '2 of 4 cells: ' in said.out
  assert not said.err


def test_a_run_of_another_config_than_its_file_has_now_is_named(
  half: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
  arguments, folder = half
  path = folder / 'runs' / 'vae-rate0.001-seed1' / 'config.json'
  path.write_text(path.read_text().replace('"latent": 8', '"latent": 9'))
  assert main([*arguments, '--report_only']) == 0
  problem = 'of another config, objective.latent: 9 there, 8 now: vae-rate0.001-seed1'
  assert f'- {problem}\n' in (folder / 'study.md').read_text()


def test_what_is_finished_is_not_run_again(
  half: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
  arguments, folder = half
  outputs = {path: path.read_bytes() for path in folder.glob('cells/*/output.txt')}
  assert main(arguments) == 0
  assert '2 cells in' in (said := capsys.readouterr().out)
  assert '0 to run here' in said
  assert outputs == {path: path.read_bytes() for path in folder.glob('cells/*/output.txt')}
  assert main([*arguments, '--config.overrides.num_steps=12']) == 2
  assert 'overrides.num_steps: 8 there, 12 now' in capsys.readouterr().err
  assert main([*arguments, '--config.numbers=no_such_number', '--report_only']) == 0
  assert "no run has the number 'no_such_number'" in (folder / 'study.md').read_text()
  (folder / results.FILE).unlink()
  assert main([*arguments, '--config.seeds=0', '--report_only']) == 0
  assert '± is the standard error.\n' in (folder / 'study.md').read_text()


def test_two_processes_take_no_cell_and_no_part_twice(
  half: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
  arguments, folder = half
  name = 'vae-rate0.001-seed1'
  (folder / 'runs' / name / 'evaluation.json').unlink()
  with claim(folder / 'cells' / name):  # as another part would
    assert main(arguments) == 0
  said = capsys.readouterr().out
  assert f'left to the other process: workdir {folder}/cells/{name} is in use by process' in said
  assert '1 of 2 cells' in said
  assert f'not finished: {name}' in (folder / 'study.md').read_text()
  with claim(folder / 'parts' / '1-of-1'):
    assert main(arguments) == 2
  assert 'is in use by process' in capsys.readouterr().err


def test_parts_that_end_together_write_the_table_one_after_the_other(
  half: tuple[list[str], Path],
) -> None:
  arguments, folder = half
  evaluation = folder / 'runs' / 'vae-rate0.001-seed1' / 'evaluation.json'
  with claim(folder / 'parts' / 'report'):  # as another part that writes its table
    found = evaluation.read_bytes()
    evaluation.unlink()
    (folder / 'study.md').unlink()
    second = threading.Thread(target=main, args=([*arguments, '--report_only'],))
    second.start()
    time.sleep(0.5)
    assert second.is_alive()
    assert not (folder / 'study.md').exists()
    evaluation.write_bytes(found)  # as that other part has, which the second now sees
  second.join(60)
  assert 'not finished' not in (folder / 'study.md').read_text()


def interrupted(arguments: list[str], output: Path, text: str) -> int:
  """The exit code of a study that gets Ctrl-C once its cell has said something new."""
  before = output.read_text().count(text) if output.exists() else 0

  def wait() -> None:
    for _ in range(9000):
      if output.exists() and output.read_text().count(text) > before:
        break
      time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)  # also where nothing was said, so that the test ends

  threading.Thread(target=wait).start()
  return main(arguments)


def test_ctrl_c_loses_nothing_and_the_same_command_resumes(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  folder = tmp_path / 'study'
  longer = SMALL | {'num_steps': 200_000_000}
  axes = {'rate': {'optimizer': {'learning_rate': (1e-4, 1e-3)}}}
  arguments = command(folder, overrides=longer, axes=axes)
  name = 'vae-rate0.0001-seed0'
  output = folder / 'cells' / name / cells.OUTPUT
  assert interrupted(arguments, output, 'step 2/') == 130
  error = capsys.readouterr().err
  assert 'jaxgen: SIGINT: stopped with 0 of 4 cells finished; the same command resumes' in error
  (step,) = re.findall(r'SIGINT: stopped at step (\d+), which is saved', output.read_text())
  assert (folder / 'runs' / name / 'checkpoints' / step).is_dir()
  assert interrupted(arguments, output, f'Resuming from step {step} of') == 130
  assert sorted(path.name for path in (folder / 'runs').iterdir()) == [name]
  assert main([*arguments, '--report_only']) == 0  # it has not failed, it is not finished
  assert 'not finished: vae-rate0.0001-seed0' in (folder / 'study.md').read_text()
