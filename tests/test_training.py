"""The loop between updates, on a model of one number."""

import time
from pathlib import Path
from typing import Any

from jaxgen.main import main
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.stopping import StopRequests
from jaxgen.training.writer import Writer
from tests import toy


def test_a_step_is_called_safe_when_it_is_on_disk(tmp_path: Path) -> None:
  """However long its writing takes: a run that is stopped then must not lose it."""
  write, safe, found = Checkpoints._write, StopRequests.safe, {}

  def slow(self: Checkpoints, step: int, state: Any) -> None:
    time.sleep(0.3)
    write(self, step, state)

  def watched(self: StopRequests, step: int) -> None:
    found[step] = (tmp_path / 'run' / 'checkpoints' / str(step)).is_dir()
    safe(self, step)

  with toy.at_hand(tmp_path) as patch:
    patch.setattr(Checkpoints, '_write', slow)
    patch.setattr(StopRequests, 'safe', watched)
    assert main(toy.command(tmp_path / 'run')) == 0
  assert found == {0: False, 2: True, 4: True}


def test_hyperparameters_are_written_beside_the_last_results(tmp_path: Path) -> None:
  written: list[tuple[int, set[str]]] = []
  with toy.at_hand(tmp_path) as patch:
    patch.setattr(
      Writer, 'hyperparameters', lambda _, step, results: written.append((step, {*results}))
    )
    assert main(toy.command(tmp_path / 'run')) == 0
  ((step, names),) = written
  assert step == toy.STEPS
  assert 'validation/pixel' in names
