"""Several processes train as one, stop as one, and do not wait for one that is gone."""

import fcntl
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jaxgen.devices import processes
from jaxgen.training import checkpoint
from tests.faults.processes import Process, command, contents, records, run, state_digest

STEPS = 24
FIELDS = {
  'num_steps': STEPS,
  'batch_size': 32,
  'checkpoint__every': 4,
  'evaluation__every': 0,
  'evaluation__batch_size': 45,
  'reduction': 'ordered',
}
HEARTBEAT = 20  # seconds: tests should not wait for long, but a busy machine was silent for ten


def hasty() -> None:
  """Makes a process give a silent one up soon."""
  processes.HEARTBEAT = HEARTBEAT


def free_port() -> int:
  """A port on which nobody listens."""
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


def start(workdir: Path, *different: str, **fields: object) -> list[Process]:
  """Two processes of two devices; `different` goes to the second one only."""
  port = free_port()
  arguments = (
    *command('vae', workdir, **FIELDS | fields),
    '--config.cpu_devices=2',
    f'--coordinator=127.0.0.1:{port}',
    '--num_processes=2',
  )
  return [
    Process(workdir.with_suffix(f'.{index}'), (*arguments, f'--process_id={index}', *more), hasty)
    for index, more in enumerate(((), different))
  ]


def finish(both: list[Process]) -> None:
  """Waits for two processes, which must succeed."""
  codes = [process.wait() for process in both]
  assert codes == [0, 0], '\n'.join(process.output for process in both)


@pytest.fixture(scope='module')
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """The workdir of one process of four devices."""
  folder = tmp_path_factory.mktemp('alone')
  arguments = (*command('vae', folder / 'run', **FIELDS), '--config.cpu_devices=4')
  code, output = run(folder / 'output', arguments)
  assert code == 0, output
  return folder / 'run'


def assert_same(workdir: Path, alone: Path) -> None:
  """What two processes left is what one leaves, to the bit."""
  assert state_digest(workdir, STEPS) == state_digest(alone, STEPS)
  assert records(workdir) == records(alone)


def test_two_processes_of_two_devices_train_as_one_of_four(tmp_path: Path, alone: Path) -> None:
  both = start(tmp_path / 'run')
  finish(both)
  assert_same(tmp_path / 'run', alone)
  assert f'Finished: step {STEPS} of {STEPS}' in both[0].output
  assert 'step' not in both[1].output
  found, expected = (
    {path.name for path in folder.iterdir() if not path.name.startswith('events')}
    for folder in (tmp_path / 'run', alone)
  )
  assert found == expected


@pytest.mark.slow
def test_means_over_processes_agree_to_rounding(
  tmp_path: Path, figure: Callable[[str], None]
) -> None:
  fields = FIELDS | {'reduction': 'mean', 'batch_size': 40}
  flags = (f'--coordinator=127.0.0.1:{free_port()}', '--num_processes=2', '--config.cpu_devices=2')
  both = [
    Process(
      tmp_path / f'{index}',
      (*command('wgan', tmp_path / 'two', **fields), *flags, f'--process_id={index}'),
      hasty,
    )
    for index in (0, 1)
  ]
  finish(both)
  arguments = (*command('wgan', tmp_path / 'one', **fields), '--config.cpu_devices=4')
  code, output = run(tmp_path / 'output', arguments)
  assert code == 0, output
  found, expected = records(tmp_path / 'two'), records(tmp_path / 'one')
  assert [record.keys() for record in found] == [record.keys() for record in expected]
  pairs = [(a[name], b[name]) for a, b in zip(found, expected, strict=True) for name in a]
  np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-5, atol=1e-6)
  worst = max(abs(a - b) / (abs(b) + 1e-2) for a, b in pairs)
  figure(f'numbers within {worst:.0e} of those of one process')


@pytest.mark.slow
@pytest.mark.parametrize(('victim', 'number'), [(0, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_a_dead_process_ends_the_other_and_a_restart_resumes(
  victim: int, number: signal.Signals, tmp_path: Path, alone: Path, figure: Callable[[str], None]
) -> None:
  workdir = tmp_path / 'run'
  both = start(workdir)
  both[0].wait_for('step 12/')
  killed = time.monotonic()
  both[victim].signal(number)
  survivor = both[1 - victim]
  assert survivor.wait(3 * HEARTBEAT) != 0
  seconds = time.monotonic() - killed
  figure(f'the other ended after {seconds:.1f} s (heartbeats time out after {HEARTBEAT} s)')
  assert 'another' in survivor.output
  both[victim].signal(signal.SIGKILL)
  saved = max(checkpoint.steps(workdir / 'checkpoints'))
  again = start(workdir)
  finish(again)
  assert f'Resuming from step {saved} of {STEPS}' in again[0].output
  assert_same(workdir, alone)


@pytest.mark.slow
@pytest.mark.parametrize('receiver', [0, 1])
def test_a_signal_to_one_stops_both_after_the_same_step(
  receiver: int, tmp_path: Path, alone: Path, figure: Callable[[str], None]
) -> None:
  workdir = tmp_path / 'run'
  both = start(workdir)
  both[0].wait_for('step 8/')
  sent = time.monotonic()
  both[receiver].signal(signal.SIGTERM)
  assert [process.wait(120) for process in both] == [128 + signal.SIGTERM] * 2
  figure(f'{time.monotonic() - sent:.2f} s to stop')
  step = int(re.search(r'SIGTERM: stopped at step (\d+), which is saved', both[0].output)[1])
  assert max(checkpoint.steps(workdir / 'checkpoints')) == step
  assert 'Traceback' not in both[0].output + both[1].output
  again = start(workdir)
  finish(again)
  assert f'Resuming from step {step} of {STEPS}' in again[0].output
  assert state_digest(workdir, STEPS) == state_digest(alone, STEPS)


def refused(both: list[Process], *words: str) -> None:
  """Both end, and one of them says why."""
  assert [process.wait(120) for process in both] == [2, 2]
  output = both[0].output + both[1].output
  assert len(re.findall('^jaxgen: ', output, re.MULTILINE)) == 1, output
  assert 'Traceback' not in output
  for word in words:
    assert word in output


def test_a_workdir_in_use_is_refused_with_one_message(tmp_path: Path) -> None:
  workdir = tmp_path / 'run'
  workdir.mkdir()
  with (workdir / '.lock').open('w') as lock:
    lock.write('a test')
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_EX)
    refused(start(workdir), f'workdir {workdir} is in use by a test')
  assert contents(workdir) == {}


def test_what_only_the_second_process_lacks_ends_both_with_its_message(tmp_path: Path) -> None:
  refused(start(tmp_path / 'run', '--config.data.name=folder'), "no folder ''")


def test_processes_with_different_configs_are_refused(tmp_path: Path) -> None:
  different = '--config.optimizer.learning_rate=0.1'
  refused(start(tmp_path / 'run', different), 'process 1 has another config than process 0')


@pytest.mark.slow
def test_a_diverged_run_ends_on_both_with_one_message(tmp_path: Path) -> None:
  both = start(tmp_path / 'run', optimizer__learning_rate='1e30')
  refused(both, 'the run has diverged')


def impatient() -> None:
  """Makes a process wait for others for two seconds."""
  processes.PATIENCE = 2.0


@pytest.mark.parametrize(
  ('index', 'words'), [(0, 'not all of the 2 processes have come'), (1, 'process 1 of 2 could')]
)
def test_nobody_waits_for_ever_for_those_who_do_not_come(
  index: int, words: str, tmp_path: Path
) -> None:
  flags = (f'--coordinator=127.0.0.1:{free_port()}', '--num_processes=2', f'--process_id={index}')
  process = Process(tmp_path / 'output', (*command('vae', tmp_path / 'run'), *flags), impatient)
  assert process.wait(120) == 2
  assert words in process.output
  assert 'Traceback' not in process.output
  assert process.output.count('\n') == 1


def surround(environment: dict[str, str]) -> None:
  """Sets what a launcher would."""
  hasty()
  os.environ.update(environment)


@pytest.mark.slow
@pytest.mark.parametrize('launcher', ['SLURM', 'Open MPI'])
def test_launched_processes_find_each_other(launcher: str, tmp_path: Path, alone: Path) -> None:
  number = free_port()
  both = []
  for index in (0, 1):
    environment = {
      'SLURM': {
        **{'SLURM_JOB_ID': str(number), 'SLURM_STEP_NODELIST': 'localhost', 'SLURM_NTASKS': '2'},
        **{'SLURM_STEP_NUM_TASKS': '2', 'SLURM_PROCID': str(index), 'SLURM_LOCALID': str(index)},
      },
      'Open MPI': {
        'OMPI_MCA_orte_hnp_uri': f'{number * 4096}.0;tcp://127.0.0.1:34911',
        **{'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': str(index)},
        'OMPI_COMM_WORLD_LOCAL_RANK': str(index),
      },
    }[launcher]
    arguments = (*command('vae', tmp_path / 'run', **FIELDS), '--config.cpu_devices=2')
    both.append(Process(tmp_path / f'{index}', arguments, partial(surround, environment)))
  finish(both)
  assert_same(tmp_path / 'run', alone)


def test_sampling_in_several_processes_is_refused(tmp_path: Path) -> None:
  flags = ('--mode=sample', '--coordinator=a:1', '--num_processes=2', '--process_id=1')
  code, output = run(tmp_path / 'output', (*command('vae', tmp_path / 'run'), *flags))
  assert (code, output) == (2, 'jaxgen: --mode=sample runs in one process, not in 2\n')
