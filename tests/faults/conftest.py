"""What the fault tests share: runs that nothing interrupted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import command, run


@pytest.fixture(scope='session')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
  """The workdir of an uninterrupted run of a family."""
  done: dict[str, Path] = {}

  def train(family: str) -> Path:
    if family not in done:
      folder = tmp_path_factory.mktemp(family)
      code, output = run(folder / 'output', command(family, folder / 'run'))
      assert code == 0, output
      done[family] = folder / 'run'
    return done[family]

  return train
