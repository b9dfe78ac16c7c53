"""What a study's number names, as 'raw/fid_classifier', and what it came to in the runs."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from jaxgen.report.groups import Groups
from jaxgen.report.runs import Run, as_dict
from jaxgen.report.tables import Row, cost, plain_rows, score_rows

PLACES = {'raw': 'Raw parameters', 'train': 'Training split'}  # of a number, if not the usual ones


def placed(number: str) -> tuple[list[str], str]:
  """The places that a number names, and the metric there."""
  parts = number.split('/')
  places = list(takewhile(PLACES.__contains__, parts))
  return places, '/'.join(parts[len(places) :])


def asks_for_raw(numbers: Sequence[str]) -> bool:
  """Whether any of these is of the raw parameters, which are looked at for them alone."""
  return any('raw' in placed(number)[0] for number in numbers)


def rows_of(number: str, groups: Groups) -> list[Row]:
  """What a number came to in each group: a row for each protocol or definition.

  Costs have no place, and held-out means, which are of the test split, only 'raw'.
  """
  places, metric = placed(number)
  which = 'raw' if 'raw' in places else 'ema'
  splits = ('train',) if 'train' in places else ('test', '')
  scores = [
    row for split in splits for row in score_rows(groups, which, split) if row.metric == metric
  ]

  def plain(run: Run) -> dict[str, Any]:
    means = {} if 'train' in places else as_dict(run.evaluation.get(which))
    known = means if places else cost(run) | means
    return {metric: known[metric]} if metric in known else {}

  said = ''.join(f'{PLACES[place]}: ' for place in places)
  rows = scores or plain_rows(groups, plain)
  return [row._replace(name=said + row.name) for row in rows]
