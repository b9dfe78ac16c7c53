"""Figures of the fault tests, printed as a table: python -m pytest -m '' tests/faults."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.processes import command, run


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
  """Notes what a test measured, for the table at the end."""
  return lambda text: record_property('figure', text)


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
  """Prints the figures."""
  reports = [
    report
    for outcome in ('passed', 'failed')
    for report in terminalreporter.getreports(outcome)
    if report.when == 'call'
  ]
  rows = [
    (report.nodeid.partition('faults/')[2], value)
    for report in reports
    for name, value in report.user_properties
    if name == 'figure'
  ]
  if rows:
    terminalreporter.section('figures')
  for name, value in sorted(rows):
    terminalreporter.write_line(f'{name}: {value}')
