"""What a study says of its cells, without running any."""

from pathlib import Path

import pytest

from jaxgen import configuration
from jaxgen.evaluation.protocol import Number
from jaxgen.report import runs
from jaxgen.report.summaries import Summary, summarise
from jaxgen.report.tables import Row
from jaxgen.study import results, table
from jaxgen.study.cells import FINISHED
from jaxgen.study.plan import MODEL, Cell
from jaxgen.study.results import Entry
from tests.test_report import FID, workdir


def test_a_run_of_another_config_is_named_whichever_of_its_samplings_is_there(
  tmp_path: Path,
) -> None:
  folder = workdir(tmp_path / 'runs' / 'edm-seed0', Number(FID, 12.5))
  config = configuration.read(folder)
  config.batch_size += 89
  cell = Cell('edm-seed0', 'edm', {}, 0, (), config, ())
  (run,) = runs.read(folder)
  entries = [Entry(cell, {MODEL: 'edm'}, FINISHED, '', 1.0, found) for found in (run, None)]
  said = 'of another config, batch_size: 10 there, 99 now: edm-seed0'
  assert results.trained_otherwise(tmp_path, entries) == [said]
  assert results.trained_otherwise(tmp_path, entries[1:]) == []


@pytest.mark.parametrize(
  ('groups', 'bold'),
  [
    ([[5.0, 5.1], [9.0, 9.1]], True),
    ([[5.0], [9.0, 9.1]], False),  # how far trainings of the first spread, no one knows
    ([[5.0], [9.0]], False),
    ([[5.0, None], [9.0, 9.1]], False),
    ([[5.0, 5.1], [9.0, 9.1], []], True),  # of the last, nothing is there yet
  ],
)
def test_a_lead_is_bold_where_all_have_several_seeds(
  groups: list[list[float | None]], bold: bool
) -> None:
  summaries = [summarise([[] if v is None else [v] for v in of], 0.1) for of in groups]
  row = Row('distance', '', summaries, frozenset({0}), metric='fid')
  assert table.repeated(row) == bold


def test_seeds_are_told_apart_beyond_a_thousand() -> None:
  assert table.of_seeds(summarise([[9687.4], [11_319.2], [12.3]])) == '(9,687; 11,319; 12.3)'
  assert Summary(9687.4, 12.0).text == '9,687 ± 12'
