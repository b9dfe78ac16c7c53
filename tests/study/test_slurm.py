"""A study is handed out to Slurm; programs of the test's own stand for sbatch and srun."""

import json
import os
import re
import time
from pathlib import Path

import pytest
import submitit

from jaxgen.study.__main__ import main
from jaxgen.study.slurm import FOLDER, Part
from tests.study.test_plan import ROOT

STUDY = f'{ROOT}/experiments/studies/beta.py'
SHORT = (
  *('--config.seeds=0,', '--config.overrides.num_steps=200'),
  '--config.axes.beta.objective.beta=1.0,3.0',
)
# What a cluster does: it keeps the script, says a number, and starts it once for each of its array.
SBATCH = """#!/bin/sh
cp "$1" "$(dirname "$0")/script.sh"
echo "Submitted batch job 12"
if [ -n "$RUN" ]; then for k in 0 1; do
  SLURM_JOB_ID=$k SLURM_ARRAY_JOB_ID=12 SLURM_ARRAY_TASK_ID=$k sh "$1" >"$RUN/$k" 2>&1 &
done; fi
"""
SRUN = """#!/bin/sh
while case "$1" in --output|--error) shift;; -*) ;; *) false;; esac; do shift; done
exec "$@"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
  """A folder whose sbatch and srun come before any others'."""
  folder = tmp_path / 'bin'
  folder.mkdir()
  for name, text in (('sbatch', SBATCH), ('srun', SRUN)):
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
  monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
  return folder


def hand_out(workdir: Path, *arguments: str) -> int:
  return main([f'--config={STUDY}', f'--workdir={workdir}', '--launcher=slurm', *SHORT, *arguments])


def test_an_array_has_a_job_for_each_part(
  tmp_path: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  workdir = tmp_path / 'beta'
  fields = ('--slurm=partition=gpu', '--slurm=time=600')
  assert hand_out(workdir, '--jobs=2', *fields) == 0
  script = (cluster / 'script.sh').read_text()
  for line in ('--array=0-1%2', '--partition=gpu', '--time=600', '--job-name=jaxgen'):
    assert f'#SBATCH {line}' in script
  assert '12_0, 12_1' in capsys.readouterr().out
  for k in (0, 1):
    (pickled,) = (workdir / FOLDER).glob(f'12_{k}*_submitted.pkl')
    part = submitit.core.utils.DelayedSubmission.load(pickled).function
    mine = (f'--config={STUDY}', f'--workdir={workdir}', *SHORT, f'--part={k + 1}/2')
    assert part.arguments == mine
    assert part.checkpoint().function is part  # queued again, it goes on


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('--jobs=0',), '--jobs=0 must be positive'),
    (('--part=1/2',), '--launcher hands out all parts: leave out --part=1/2'),
    (('--slurm=gpu',), '--slurm=gpu must be NAME=VALUE, as in --slurm=partition=gpu'),
    (('--slurm=partitoin=gpu',), r"--launcher=slurm: .*\['partitoin'\].*- partition "),
  ],
)
def test_bad_input_submits_nothing(
  arguments: tuple[str, ...],
  message: str,
  tmp_path: Path,
  cluster: Path,
  capsys: pytest.CaptureFixture[str],
) -> None:
  assert hand_out(tmp_path / 'beta', *arguments) == 2
  assert re.search(message, capsys.readouterr().err)
  assert not (cluster / 'script.sh').exists()


def test_where_no_slurm_is_one_sentence_says_so(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  monkeypatch.setenv('PATH', str(tmp_path))
  assert hand_out(tmp_path / 'beta') == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('jaxgen: --launcher=slurm: Could not detect "srun"')


def test_a_part_with_failed_cells_fails(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr('jaxgen.study.__main__.main', lambda arguments: len(arguments))
  Part([])()
  with pytest.raises(RuntimeError, match='exit code 1'):
    Part(['--part=1/1'])()


@pytest.mark.slow
def test_the_jobs_make_the_whole_study(
  tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setenv('RUN', str(tmp_path))
  monkeypatch.chdir(ROOT)  # jobs start where they were asked for, and find the package there
  workdir = tmp_path / 'beta'
  assert hand_out(workdir, '--jobs=2') == 0
  begun = time.monotonic()
  while len(list((workdir / FOLDER).glob('*_result.pkl'))) < 2:
    assert time.monotonic() < begun + 300, [(tmp_path / k).read_text() for k in '01']
    time.sleep(0.5)
  study = json.loads((workdir / 'study.json').read_text())
  assert [cell['status'] for cell in study['cells']] == ['finished'] * 2
