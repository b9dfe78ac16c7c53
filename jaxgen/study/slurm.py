"""--launcher=slurm: the parts of a study as an array of Slurm jobs, through submitit."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import submitit
from submitit.helpers import DelayedSubmission

from jaxgen.errors import UserError, suggest

FOLDER = 'jobs'  # of the study's: scripts and what the jobs print
# Of sbatch, with _ for -; none that starts a part several times, or takes more than a word.
FIELDS = (
  *('account', 'constraint', 'cpus_per_task', 'exclude', 'gpus_per_node', 'gres', 'mem'),
  *('nodelist', 'partition', 'qos', 'time'),
)
AGAIN = 100  # how often a job may run out of its time: a study ends by itself
NOTICE, SAVING = 180, 150  # seconds before its end that a job is told, and may save
SHORTEST = 10  # minutes of a job, that it gets on between its start and that notice


class Part:
  """A part's command line; a job that runs out of its time is queued again, and goes on."""

  def __init__(self, arguments: Sequence[str]) -> None:
    self.arguments = tuple(arguments)

  def __call__(self) -> None:
    """Raises RuntimeError where the command's exit code is not 0, so that Slurm says so too."""
    # The signal that time is up is for this process, even where Slurm sends it to all.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    command = [sys.executable, '-m', 'jaxgen.study', *self.arguments]
    self.process = subprocess.Popen(command)  # noqa: S603
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    while self.process.poll() is None:
      time.sleep(1.0)
    if self.process.returncode:
      raise RuntimeError(f'exit code {self.process.returncode}; the reason stands above')

  def checkpoint(self) -> DelayedSubmission:
    """Saves; what submitit queues then is the same, which skips what is finished."""
    self.process.terminate()
    end = time.monotonic() + SAVING
    while self.process.poll() is None and time.monotonic() < end:
      time.sleep(0.1)
    return DelayedSubmission(Part(self.arguments))


def submit(workdir: Path, arguments: Sequence[str], jobs: int, fields: Sequence[str]) -> str:
  """Hands a study out.

  Args:
    workdir: of the study, where all nodes see it.
    arguments: of `jaxgen.study`, but for its part.
    jobs: how many parts.
    fields: NAME=VALUE of FIELDS, time in minutes among them.

  Returns:
    The number of the job, of which the parts are an array.

  Raises:
    UserError: no Slurm is here, it refuses the jobs, or a field cannot be.
  """
  parts = [Part([*arguments, f'--part={k}/{jobs}']) for k in range(1, jobs + 1)]
  chosen = parsed(fields)
  try:
    executor = submitit.SlurmExecutor(workdir.absolute() / FOLDER, max_num_timeout=AGAIN)
    executor.update_parameters(job_name='jaxgen', signal_delay_s=NOTICE, **chosen)
    with executor.batch():
      submitted = list(map(executor.submit, parts))
  except (RuntimeError, ValueError) as error:
    raise UserError(f'--launcher=slurm: {" ".join(str(error).split())}') from error
  return submitted[0].job_id.partition('_')[0]


def parsed(fields: Sequence[str]) -> dict[str, str | int]:
  """Fields by name; whole numbers are numbers.

  Raises:
    UserError: one is unknown, without a value or there twice, or the time is not in minutes, or
      too short.
  """
  found: dict[str, str | int] = {}
  for field in fields:
    name, equals, value = field.partition('=')
    if not equals or name in found:
      raise UserError(f'--slurm={field} must be NAME=VALUE, each name once')
    if name not in FIELDS:
      raise UserError(f'--slurm={field}: unknown {name!r}.{suggest(name, FIELDS)}')
    found[name] = int(value) if value.isdecimal() else value
  if type(minutes := found.get('time')) is not int or minutes < SHORTEST:
    raise UserError(
      f'--slurm=time=MINUTES must be given, whole ones and at least {SHORTEST}: what a job may '
      f'take at once, of which the last {NOTICE} seconds are for saving'
    )
  return found
