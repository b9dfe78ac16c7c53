"""--mode=verify trains the last steps of a run again, and sees the smallest difference."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxgen.main import main
from jaxgen.training import verify
from tests import toy
from tests.faults.processes import contents

Verified = Callable[..., tuple[int, str]]


@pytest.fixture
def verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verified:
  """Trains the model of one number for four steps, saving every second, and verifies it."""

  def run(*options: str, **fields: object) -> tuple[int, str]:
    workdir = tmp_path / 'run'
    with toy.at_hand(tmp_path):
      if not workdir.exists():
        command = toy.command(workdir)
        assert main([*command, *(f'--config.{n}={v}' for n, v in fields.items())]) == 0
      before = contents(workdir)
      capsys.readouterr()
      code = main(['--mode=verify', f'--workdir={workdir}', *options])
      assert contents(workdir) == before  # nothing is written
    said = capsys.readouterr()
    return code, said.out + said.err

  return run


def test_a_run_is_had_again_bit_by_bit(verified: Verified) -> None:
  code, said = verified()
  assert code == 0
  assert 'steps 3 to 4 of' in said
  assert 'arrays have the same bits' in said
  code, said = verified('--steps=4')  # from the beginning
  assert code == 0
  assert 'steps 1 to 4 of' in said
  code, said = verified('--steps=3')
  assert code == 2
  assert '--steps can be 2 or 4' in said


def test_one_checkpoint_is_verified_from_the_beginning(verified: Verified) -> None:
  code, said = verified(**{'checkpoint.keep': 1})
  assert code == 0
  assert 'steps 1 to 4 of' in said


def test_the_smallest_difference_is_seen(
  verified: Verified, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  """As if the newer checkpoint had come out one bit away, and on another version of JAX."""
  assert verified()[0] == 0
  whole = verify.whole

  def nudged(workdir: Path, step: int, template: object) -> object:
    state = whole(workdir, step, template)
    if step == toy.STEPS:
      state = state._replace(params={'w': np.nextafter(state.params['w'], np.float32(9))})
    return state

  monkeypatch.setattr(verify, 'whole', nudged)
  code, said = verified()
  assert code == 1
  assert "arrays differ, .params['w'] by up to" in said
  assert 'Nothing known has changed since.' in said
  path = tmp_path / 'run' / 'run.json'
  record = json.loads(path.read_text())
  record['starts'][-1]['packages']['jax'] = '0.0.1'
  path.write_text(json.dumps(record))
  assert 'Changed since: jax: 0.0.1 then' in verified()[1]


def test_a_damaged_checkpoint_is_no_ground_to_start_from(
  verified: Verified, tmp_path: Path
) -> None:
  assert verified()[0] == 0
  (tmp_path / 'run' / 'checkpoints' / '2' / 'arrays.json').write_text('{}')
  code, said = verified()
  assert code == 2
  assert 'the checkpoint of step 2' in said
  assert 'arrays.json is not as it was written' in said


def test_steps_are_of_this_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
  assert main([*toy.command(tmp_path / 'run'), '--steps=2']) == 2
  assert '--steps=2 is of --mode=verify, not of train' in capsys.readouterr().err
  assert main(['--mode=verify', f'--workdir={tmp_path}', '--steps=-2']) == 2
  assert '--steps=-2 must be positive' in capsys.readouterr().err
