"""--launcher=slurm: the parts of a study as an array of Slurm jobs, through submitit."""

from collections.abc import Sequence
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError
from submitit.helpers import DelayedSubmission

from jaxgen.errors import UserError

FOLDER = 'jobs'  # of the study's: scripts and what the jobs print


class Part:
  """A part's command line; a job that runs out of its time is queued again, and goes on."""

  def __init__(self, arguments: Sequence[str]) -> None:
    self.arguments = tuple(arguments)

  def __call__(self) -> None:
    """Raises RuntimeError where cells have failed, so that Slurm says so too."""
    from jaxgen.study.__main__ import main

    if code := main(self.arguments):
      raise RuntimeError(f'exit code {code}; the reason stands above')

  def checkpoint(self) -> DelayedSubmission:
    """What submitit runs next: the same, which skips what is finished."""
    return DelayedSubmission(self)


def submit(workdir: Path, arguments: Sequence[str], jobs: int, fields: Sequence[str]) -> list[str]:
  """Hands a study out.

  Args:
    workdir: of the study, where all nodes see it.
    arguments: of `jaxgen.study`, but for its part.
    jobs: how many parts.
    fields: NAME=VALUE of sbatch, as submitit spells them: partition=gpu, time=600 (minutes).

  Returns:
    The jobs' numbers.

  Raises:
    UserError: no Slurm is here, it refuses the jobs, or a field is unknown.
  """
  if jobs < 1:
    raise UserError(f'--jobs={jobs} must be positive')
  parts = [Part([*arguments, f'--part={k}/{jobs}']) for k in range(1, jobs + 1)]
  try:
    executor = submitit.SlurmExecutor(workdir.absolute() / FOLDER)
    executor.update_parameters(job_name='jaxgen', **dict(map(parsed, fields)))
    with executor.batch():
      submitted = list(map(executor.submit, parts))
  except (RuntimeError, ValueError, FailedJobError) as error:
    raise UserError(f'--launcher=slurm: {" ".join(str(error).split())}') from error
  return [job.job_id for job in submitted]


def parsed(field: str) -> tuple[str, str | int]:
  """NAME=VALUE, where whole numbers are numbers.

  Raises:
    UserError: there is no '='.
  """
  name, equals, value = field.partition('=')
  if not equals:
    raise UserError(f'--slurm={field} must be NAME=VALUE, as in --slurm=partition=gpu')
  return name, int(value) if value.isdigit() else value
