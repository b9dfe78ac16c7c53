"""With the ordered reduction, the number of devices leaves no trace in a run's results."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import command, records, run, state_digest

STEPS = 12
SHORT = {'num_steps': STEPS, 'checkpoint__every': STEPS, 'evaluation__every': 0}


@pytest.mark.slow
def test_ordered_reduction_gives_one_hash_for_any_device_count(
  tmp_path: Path, figure: Callable[[str], None]
) -> None:
  """Of a game, each of whose critic steps has its share of the batch."""
  hashes, losses = set(), []
  for devices in (1, 2, 4, 8):
    workdir = tmp_path / str(devices)
    arguments = command('wgan', workdir, batch_size=160, reduction='ordered', **SHORT)
    code, output = run(
      tmp_path / f'output{devices}', (*arguments, f'--config.cpu_devices={devices}')
    )
    assert code == 0, output
    hashes.add(state_digest(workdir, STEPS))
    losses.append([r for r in records(workdir) if any(k.startswith('train/') for k in r)])
  assert len(hashes) == 1
  assert losses[1:] == losses[:-1]
  figure(f'{len(hashes)} hash on 1, 2, 4 and 8 devices')
