"""Which of how many processes this is, from flags or from launchers."""

import re
import socket

import pytest

from jaxgen.devices import processes
from jaxgen.errors import UserError

NOWHERE: dict[str, str] = {}
SRUN = {'SLURM_STEP_NUM_TASKS': '4', 'SLURM_PROCID': '3', 'SLURM_NTASKS': '4'}
MPIRUN = {'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': '1'}


@pytest.mark.parametrize(
  ('flags', 'environment', 'place'),
  [
    ((None, None, None), NOWHERE, processes.Place()),
    (('a:1', 3, 2), NOWHERE, processes.Place(3, 2, 'a:1')),
    (('a:1', 1, 0), NOWHERE, processes.Place(1, 0, 'a:1')),
    ((None, None, None), SRUN, processes.Place(4, 3, None, True)),
    (('a:1', None, None), MPIRUN, processes.Place(2, 1, 'a:1', True)),
    ((None, None, None), SRUN | MPIRUN, processes.Place(2, 1, None, True)),
    (('a:1', 2, 0), SRUN, processes.Place(2, 0, 'a:1')),
    ((None, None, None), {'SLURM_NTASKS': '4', 'SLURM_PROCID': '0'}, processes.Place()),
    ((None, None, None), SRUN | {'SLURM_STEP_NUM_TASKS': '1'}, processes.Place()),
    ((None, None, None), SRUN | {'SLURM_PROCID': 'x'}, processes.Place()),
  ],
)
def test_a_process_knows_its_place(
  flags: tuple[str | None, int | None, int | None],
  environment: dict[str, str],
  place: processes.Place,
) -> None:
  assert processes.find(*flags, environment) == place


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    ((None, 2, None), 'need --coordinator=HOST:PORT'),
    ((None, 2, 0), 'need --coordinator=HOST:PORT'),
    ((None, None, 0), 'need --coordinator=HOST:PORT'),
    (('a:1', None, None), 'needs --num_processes=N'),
    (('a:1', 2, None), 'needs --num_processes=N'),
    (('a:1', None, 1), 'needs --num_processes=N'),
    (('a:1', 2, 2), '--process_id=2 must lie between 0 and 1'),
    (('a:1', 2, -1), '--process_id=-1 must lie between 0 and 1'),
    (('a:1', 0, 0), '--num_processes=0 must be at least 1'),
    (('a', 2, 0), '--coordinator=a must be HOST:PORT'),
    (('a:x', 2, 0), '--coordinator=a:x must be HOST:PORT'),
  ],
)
def test_flags_that_cannot_be_are_refused(
  flags: tuple[str | None, int | None, int | None], words: str
) -> None:
  with pytest.raises(UserError, match=re.escape(words)):
    processes.find(*flags, NOWHERE)


def test_a_port_in_use_is_refused() -> None:
  with socket.create_server(('', 0)) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(UserError, match=f'cannot listen on port {port}'):
      processes.join(processes.Place(2, 0, f'127.0.0.1:{port}'))
