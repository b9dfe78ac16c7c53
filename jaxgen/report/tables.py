"""The report's comparison: no row mixes protocols, and no number is the best of several."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.protocol import Number, several
from jaxgen.report.runs import Run

LOWER = ('fid', 's4_legacy', 'kid', 'class_kl_nats', 'missing_classes', 'unclaimed')
HIGHER = ('precision', 'recall', 'coverage', 'inception_score', 'authenticity')


LABELS = {
  'fid': 'Fréchet distance',
  's4': 'Fréchet distance by the report’s path, for reproduction only',
  'kid': 'Kernel distance',
  'precision': 'Precision',
  'recall': 'Recall',
  'density': 'Density',
  'coverage': 'Coverage',
  'distance_ratio': 'Distance to training images, over that of test images',
  'authenticity': 'Authenticity',
  'inception_score': 'Inception score',
  'class_kl_nats': 'KL of the classes to the data’s, nats',
  'missing_classes': 'Missing classes',
  'class_entropy_nats': 'Entropy of the classes, nats',
  'unclaimed': 'Share that no class claims',
}


def label(metric: str) -> str:
  """A metric in words, with an arrow towards the better values."""
  plain = metric.rpartition('_')[0]
  arrow = ' ↓' if metric.startswith(LOWER) else ' ↑' if metric.startswith(HIGHER) else ''
  return LABELS.get(plain, metric) + arrow


class Cell(NamedTuple):
  """What a table says about one group: mean, spread, how it is meant, and of how many."""

  value: float | None = None
  spread: float | None = None
  spread_is: str = ''
  of: str = ''
  reason: str = ''

  @property
  def text(self) -> str:
    """The value with its spread, or a dash."""
    if self.value is None:
      return '–'
    if float(self.value).is_integer() and not self.spread:
      return f'{self.value:,.0f}'
    if not self.spread:
      return f'{self.value:,.0f}' if abs(self.value) >= 10_000 else f'{self.value:.4g}'
    decimals = max(0, 1 - math.floor(math.log10(self.spread)))  # two digits of the spread
    return f'{self.value:,.{decimals}f} ± {self.spread:,.{decimals}f}'


class Row(NamedTuple):
  """One quantity of all groups; `best` holds the places of the best values."""

  name: str
  protocol: str
  cells: list[Cell]
  best: set[int]


Groups = dict[str, list[Run]]


def group(runs: Sequence[Run]) -> Groups:
  """Runs that differ only in their seed, by a name that tells the groups apart."""
  found: dict[Any, list[Run]] = {}
  for run in runs:
    found.setdefault(run.group, []).append(run)
  named: Groups = {}
  for members in found.values():
    config = members[0].config
    seeds = ', '.join(str(run.config['seed']) for run in members)
    several = f'{config["objective.name"]} on {config["data.name"]}, seeds {seeds}'
    name = members[0].name if len(members) == 1 else several
    number = 2
    while name in named:
      name = f'{name.removesuffix(f" ({number - 1})")} ({number})'
      number += 1
    named[name] = members
  return named


def summarise(runs: Sequence[Sequence[float]], error: float | None = None) -> Cell:
  """Mean and deviation over runs; of one run over its sets of samples, or its standard error.

  Args:
    runs: the values of each run, one for each set of samples; runs without any are left out.
    error: standard error of the only value, where there is one.
  """
  means = [float(np.mean(values)) for values in runs if values]
  if not means:
    return Cell()
  if len(means) > 1:
    deviation = float(np.std(means, ddof=1))
    return Cell(float(np.mean(means)), deviation, 'deviation over runs', f'{len(means)} runs')
  (values,) = (values for values in runs if values)
  if len(values) > 1:
    deviation = float(np.std(values, ddof=1))
    return Cell(means[0], deviation, 'deviation over sets of samples', f'{len(values)} sets')
  return Cell(means[0], error, 'standard error' if error is not None else '')


def score_rows(groups: Groups, which: str, split: str) -> list[Row]:
  """The scores against one split, a row for each protocol: no row holds numbers of two."""
  found: dict[tuple[Any, ...], dict[str, list[list[Number]]]] = {}
  for name, runs in groups.items():
    for place, run in enumerate(runs):
      for number in run.numbers[which]:
        if number.protocol.split == split:
          by_group = found.setdefault(number.protocol.comparable, {})
          by_group.setdefault(name, [[] for _ in runs])[place].append(number)
  rows = []
  for by_group in found.values():
    cells = [cell_of(by_group.get(name, [])) for name in groups]
    protocols = [n.protocol for runs in by_group.values() for run in runs for n in run]
    protocol = several(protocols[0], [protocol.seed for protocol in protocols])
    metric = protocols[0].metric
    rows.append(Row(label(metric), protocol, cells, best(metric, cells)))
  return rows


def cell_of(runs: Sequence[Sequence[Number]]) -> Cell:
  """What the numbers of one protocol come to, in the runs of one group."""
  numbers = [number for run in runs for number in run]
  measured = [[n.value for n in run if n.value is not None] for run in runs]
  error = next((n.standard_error for n in numbers if n.value is not None), None)
  reason = next((number.reason for number in numbers if number.reason), '')
  return summarise(measured, error)._replace(reason=reason)


def best(metric: str, cells: Sequence[Cell]) -> set[int]:
  """Places of the best values, where there is something to choose from."""
  values = {place: cell.value for place, cell in enumerate(cells) if cell.value is not None}
  if len(values) < 2 or not metric.startswith(LOWER + HIGHER):
    return set()
  choose = min if metric.startswith(LOWER) else max
  chosen = choose(values.values())
  winners = {place for place, value in values.items() if value == chosen}
  return winners if len(winners) < len(values) else set()


def plain_rows(groups: Groups, look: Callable[[Run], dict[str, Any]]) -> list[Row]:
  """A row for each number that `look` finds in a run."""
  names = dict.fromkeys(name for runs in groups.values() for run in runs for name in look(run))
  rows = []
  for name in names:
    found = ([numbers([look(run).get(name)]) for run in runs] for runs in groups.values())
    rows.append(Row(name, '', [summarise(values) for values in found], set()))
  return rows


def numbers(values: Iterable[Any]) -> list[float]:
  """Those of the values that are numbers."""
  return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def cost(run: Run) -> dict[str, Any]:
  """What training and sampling took."""
  stored = run.evaluation.get('cost')
  return {
    **(stored if isinstance(stored, dict) else {}),
    'training_steps': run.step,
    'training_seconds': run.training_seconds,
    'training_images_per_second': median(run, 'images_per_second'),
    'training_model_flops_utilization': median(run, 'model_flops_utilization'),
    'training_peak_memory_bytes': max(
      numbers(r.get('peak_memory_bytes') for r in run.records), default=None
    ),
  }


def median(run: Run, name: str) -> float | None:
  """The median of a number over the records of training."""
  found = numbers(record.get(name) for record in run.records)
  return float(np.median(found)) if found else None


SPLITS = {
  'test': 'against the test split',
  'train': 'against the training split',
  '': 'of the samples alone',
}
PARAMETERS = {'ema': 'averaged parameters', 'raw': 'raw parameters'}


def tables(groups: Groups) -> list[dict[str, Any]]:
  """The sections of the comparison: averaged parameters, cost, raw parameters."""
  sections = []
  for which, parameters in PARAMETERS.items():
    if which == 'raw':
      sections.append({'title': 'Cost', 'rows': plain_rows(groups, cost)})
    for split, where in SPLITS.items():
      title = f'Scores {where}, {parameters}'
      sections.append({'title': title, 'rows': score_rows(groups, which, split)})

    def means(run: Run, which: str = which) -> dict[str, Any]:
      return run.evaluation.get(which) or {}

    title = f'Means over test images, {parameters}'
    sections.append({'title': title, 'rows': plain_rows(groups, means)})
  return [section for section in sections if section['rows']]


def differences(groups: Groups) -> list[tuple[str, list[str]]]:
  """Config fields in which the groups differ, with each group's values."""
  configs = [runs[0].config for runs in groups.values()]
  names = dict.fromkeys(name for config in configs for name in config if name != 'seed')
  return [
    (name, values)
    for name in names
    if len(set(values := [repr(c[name]) if name in c else '–' for c in configs])) > 1
  ]
