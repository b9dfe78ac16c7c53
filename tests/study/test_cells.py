"""The process of a cell ends with what looks after it."""

import multiprocessing
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import ml_collections
import pytest

from jaxgen.study import cells
from jaxgen.study.plan import Cell


def sleep(output: str, lines: Sequence[Sequence[str]]) -> None:
  """Stands in for a cell that trains for long."""
  del output, lines
  time.sleep(600)


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
  """One that would train for long."""
  monkeypatch.setattr(cells, 'child', sleep)
  cell = Cell('long', 'vae', {}, 0, (), ml_collections.ConfigDict({'num_steps': 8}), ())
  cells.places(tmp_path, cell).notes.mkdir(parents=True)
  return cell


def test_a_cell_that_was_starting_when_the_study_was_stopped_ends(
  cell: Cell, tmp_path: Path
) -> None:
  stop = cells.Stop()
  stop.number = signal.SIGINT
  assert cells.run(tmp_path, cell, stop) == ''
  assert cells.status(tmp_path, cell)[0] != cells.FAILED


def test_no_cell_trains_on_without_its_study(
  cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def gone(*words: object, **options: object) -> None:
    raise BrokenPipeError

  monkeypatch.setattr(cells, 'LOOK', 0.1)
  monkeypatch.setattr('builtins.print', gone)
  with pytest.raises(BrokenPipeError):
    cells.run(tmp_path, cell, cells.Stop())
  assert not multiprocessing.active_children()
