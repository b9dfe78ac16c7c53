"""A study is handed out to Slurm; programs of the test's own stand for sbatch and srun."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import submitit

from jaxgen.errors import UserError
from jaxgen.study.__main__ import main
from jaxgen.study.slurm import FOLDER, Part, parsed
from tests.study.test_plan import ROOT

STUDY = f'{ROOT}/experiments/studies/beta.py'
SHORT = (
  *('--config.seeds=(0,)', '--config.overrides.num_steps=200'),
  '--config.axes.beta.objective.beta=1.0,3.0',
)
# What a cluster does: it keeps the script, says a number, and starts it once for each of its array.
SBATCH = """#!/bin/sh
script="$(dirname "$0")/script.sh"
cp "$1" "$script"
echo "Submitted batch job 12"
if [ -n "$RUN" ]; then for k in 0 1; do
  SLURM_JOB_ID=$k SLURM_ARRAY_JOB_ID=12 SLURM_ARRAY_TASK_ID=$k sh "$script" >"$RUN/$k" 2>&1 &
done; fi
"""
SRUN = """#!/bin/sh
while case "$1" in --output|--error) shift;; -*) ;; *) false;; esac; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/sh
echo "$@" >>"$RUN/requeued"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
  """A folder whose programs come before any others'."""
  folder = tmp_path / 'bin'
  folder.mkdir()
  for name, text in (('sbatch', SBATCH), ('srun', SRUN), ('scontrol', SCONTROL)):
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
  monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
  yield folder
  for process in running(str(tmp_path)):  # jobs of a test that failed
    os.kill(process, signal.SIGKILL)


@pytest.fixture
def at_work(tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  """A cluster that starts the jobs, where they were asked for: they find the package there."""
  monkeypatch.setenv('RUN', str(tmp_path))
  monkeypatch.chdir(ROOT)


def running(words: str) -> list[int]:
  """The processes with these words in their command line."""
  found = []
  for path in Path('/proc').glob('[0-9]*/cmdline'):
    with contextlib.suppress(OSError):  # it has ended
      line = path.read_bytes().replace(b'\0', b' ').decode()
      found += [int(path.parent.name)] if words in line else []
  return found


def hand_out(workdir: Path, *arguments: str) -> int:
  fixed = (f'--config={STUDY}', f'--workdir={workdir}', '--launcher=slurm')
  return main([*fixed, *SHORT, '--slurm=time=600', *arguments])


def until(done: Callable[[], bool], logs: Path) -> None:
  """Waits for what the jobs do; they print to files 0 and 1 there."""
  begun = time.monotonic()
  while not done():
    assert time.monotonic() < begun + 300, [(logs / k).read_text() for k in '01']
    time.sleep(0.2)


@pytest.mark.parametrize('jobs', [1, 2])
def test_each_part_is_a_job(
  jobs: int, tmp_path: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  workdir = tmp_path / 'beta'
  assert hand_out(workdir, f'--jobs={jobs}', '--slurm=partition=gpu') == 0
  script = (cluster / 'script.sh').read_text()
  for line in ('--partition=gpu', '--time=600', '--job-name=jaxgen'):
    assert f'#SBATCH {line}\n' in script
  assert ('#SBATCH --array=0-1%2\n' in script) == (jobs == 2)
  assert capsys.readouterr().out.endswith(f'job 12 of {jobs}, output in {workdir}/{FOLDER}\n')
  submitted = sorted((workdir / FOLDER).glob('12*_submitted.pkl'))
  parts = [submitit.core.utils.DelayedSubmission.load(path).function for path in submitted]
  mine = (f'--config={STUDY}', f'--workdir={workdir}', *SHORT)
  assert [part.arguments for part in parts] == [
    (*mine, f'--part={k}/{jobs}') for k in range(1, jobs + 1)
  ]
  other = [f'--config={ROOT}/experiments/studies/ema.py', f'--workdir={workdir}']
  assert main(other) == 2  # the folder is taken


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ((), '--jobs=None must be from 1 to 2, as many as there are cells'),
    (('--jobs=3',), '--jobs=3 must be from 1 to 2'),
    (('--jobs=1', '--part=1/2'), '--launcher submits all parts: leave out --part'),
    (('--jobs=1', '--report_only'), '--launcher submits all parts: leave out --part and --rep'),
    (('--jobs=1', '--slurm=gpu'), '--slurm=gpu must be NAME=VALUE, each name once'),
    (('--jobs=1', '--slurm=time=5'), '--slurm=time=5 must be NAME=VALUE, each name once'),
    (('--jobs=1', '--slurm=partitoin=gpu'), "unknown 'partitoin'. Did you mean 'partition'?"),
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
  assert message in capsys.readouterr().err
  assert not (cluster / 'script.sh').exists()


@pytest.mark.parametrize('fields', [(), ('time=1:00:00',), ('time=0',), ('time=9',)])
def test_a_job_has_its_time_in_minutes(fields: tuple[str, ...]) -> None:
  with pytest.raises(UserError, match='time=MINUTES'):
    parsed(fields)


def test_options_of_a_launcher_need_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
  for option in ('--jobs=2', '--slurm=time=5'):
    assert main([f'--config={STUDY}', f'--workdir={tmp_path}/beta', option]) == 2
    assert '--launcher=slurm, which is missing' in capsys.readouterr().err


def test_where_no_slurm_is_one_sentence_says_so(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  monkeypatch.setenv('PATH', str(tmp_path))
  assert hand_out(tmp_path / 'beta', '--jobs=1') == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('jaxgen: --launcher=slurm: Could not detect "srun"')


def test_a_part_that_fails_says_so(tmp_path: Path) -> None:
  with pytest.raises(RuntimeError, match='exit code 2'):
    Part([f'--config={tmp_path}/none.py'])()


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/cmdline').exists(), reason='needs Linux')
@pytest.mark.usefixtures('at_work')
def test_the_jobs_make_the_whole_study(tmp_path: Path) -> None:
  workdir = tmp_path / 'beta'
  assert hand_out(workdir, '--jobs=2') == 0
  until(lambda: len(list((workdir / FOLDER).glob('*_result.pkl'))) == 2, tmp_path)
  runs = sorted(path.parent.name for path in workdir.glob('runs/*/evaluation.json'))
  assert runs == ['vae-beta1.0-seed0', 'vae-beta3.0-seed0']


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/cmdline').exists(), reason='needs Linux')
@pytest.mark.usefixtures('at_work')
def test_a_job_whose_time_is_up_saves_and_is_queued_again(tmp_path: Path) -> None:
  workdir = tmp_path / 'beta'
  assert hand_out(workdir, '--jobs=2', '--config.overrides.num_steps=10000000') == 0
  logged = 'runs/*/metrics.jsonl'
  until(lambda: sum(path.stat().st_size > 0 for path in workdir.glob(logged)) == 2, tmp_path)
  for job in running(f'submitit.core._submit {workdir}'):
    os.kill(job, signal.SIGUSR2)
  until(lambda: not running(str(workdir)), tmp_path)
  assert sorted((tmp_path / 'requeued').read_text().splitlines()) == [
    *('requeue 12_0', 'requeue 12_1')
  ]
  outputs = list(workdir.glob('cells/*/output.txt'))
  assert len(outputs) == 2
  for output in outputs:
    (step,) = re.findall(r'SIGTERM: stopped at step (\d+), which is saved', output.read_text())
    assert int(step) > 0
    assert (workdir / 'runs' / output.parent.name / 'checkpoints' / step).is_dir()
