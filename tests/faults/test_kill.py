"""SIGKILL at random moments: the run ends as if nothing had happened."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import (
  FRUGAL,
  Process,
  command,
  curve,
  leftovers,
  records,
  run,
  state_digest,
)


def assert_same(workdir: Path, reference: Path) -> None:
  """A run's state, metrics and curves are those of the uninterrupted run, to the bit."""
  assert state_digest(workdir) == state_digest(reference)
  assert records(workdir) == records(reference)
  assert curve(workdir, name := next(n for n in records(reference)[0] if 'loss' in n)) == curve(
    reference, name
  )
  assert leftovers(workdir) == []


def kill_until_done(workdir: Path, family: str, kills: int, seed: int) -> str:
  """Kills a run at moments spread over its length, each somewhere within a few steps."""
  chance = random.Random(seed)  # noqa: S311
  arguments = command(family, workdir)
  output = workdir.with_suffix('.output')
  middle = FRUGAL['num_steps'] // 2
  marks = ['', 'workdir', *(f'step {step}/' for step in range(4, middle, 4))]
  marks += [f'step {middle}: validation']
  marks += [f'step {step}/' for step in range(middle + 2, FRUGAL['num_steps'], 4)]
  struck = 0
  for place in sorted(chance.choices(range(len(marks)), k=kills)):
    mark = marks[place]
    output.write_text('')
    process = Process(output, arguments)
    process.wait_for(mark)
    time.sleep(chance.uniform(0.0, 0.03))
    process.signal(signal.SIGKILL)
    struck += process.wait() == -signal.SIGKILL
  code, text = run(output, arguments)
  assert code == 0, text
  assert struck, 'the run had always ended before it was to be killed'
  return f'{struck} kills survived, final state bit-identical'


def test_killed_run_ends_as_the_uninterrupted_one(
  tmp_path: Path, reference: Callable[[str], Path], figure: Callable[[str], None]
) -> None:
  figure(kill_until_done(tmp_path / 'run', 'vae', kills=5, seed=0))
  assert_same(tmp_path / 'run', reference('vae'))


@pytest.mark.slow
@pytest.mark.parametrize(('family', 'kills'), [('vae', 20), ('gan', 3), ('wgan', 3), ('ddpm', 2)])
def test_every_family_survives_kills(
  family: str,
  kills: int,
  tmp_path: Path,
  reference: Callable[[str], Path],
  figure: Callable[[str], None],
) -> None:
  figure(kill_until_done(tmp_path / 'run', family, kills, seed=1))
  assert_same(tmp_path / 'run', reference(family))


def test_the_same_seed_twice_is_bit_identical_and_another_is_not(
  tmp_path: Path, reference: Callable[[str], Path]
) -> None:
  assert run(tmp_path / 'output', command('vae', tmp_path / 'again'))[0] == 0
  assert run(tmp_path / 'output', command('vae', tmp_path / 'other', seed=1))[0] == 0
  assert_same(tmp_path / 'again', reference('vae'))
  assert state_digest(tmp_path / 'other') != state_digest(reference('vae'))


@pytest.mark.slow
def test_kills_in_the_middle_of_a_save_lose_no_finished_step(
  tmp_path: Path, figure: Callable[[str], None]
) -> None:
  """A state of some 50 MB, saved every other step, so that most kills hit a save."""
  chance = random.Random(0)  # noqa: S311
  workdir, output = tmp_path / 'run', tmp_path / 'output'
  arguments = command('vae', workdir, network__hidden='(1500,1500)', checkpoint__every=2)
  finished, unfinished = [], 0
  for _ in range(5):
    output.write_text('')
    process = Process(output, arguments)
    process.wait_for(f'step {max(finished, default=0) + 8}/')
    time.sleep(chance.uniform(0.0, 0.4))
    process.signal(signal.SIGKILL)
    process.wait()
    steps = [int(path.name) for path in (workdir / 'checkpoints').iterdir() if path.name.isdigit()]
    unfinished += any((workdir / 'checkpoints').glob('unfinished*'))
    assert max(steps) >= max(finished, default=0)
    finished = steps
    if max(steps) == FRUGAL['num_steps']:
      break
  code, text = run(output, arguments)
  assert (code, leftovers(workdir)) == (0, [])
  assert 'damaged' not in text
  figure(f'{unfinished} half-written steps left by kills, all ignored and cleared away')
