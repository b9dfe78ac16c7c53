"""The report's comparison: no row mixes protocols, and no number is the best of several."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from jaxgen.evaluation.protocol import Number, deviation, several
from jaxgen.report.groups import Groups
from jaxgen.report.runs import Run, as_dict

LOWER = ('fid', 's4_legacy', 'kid', 'class_kl', 'missing_classes')
HIGHER = ('precision', 'recall', 'coverage', 'inception_score', 'label_accuracy')
CONFIDENCE = 0.95  # that a lead is more than noise, for the best to be marked

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
  'class_kl_nats': 'KL of the classes to the data’s, nats; chance adds (K − 1) / 2n',
  'class_kl_corrected_nats': 'KL of the classes to the data’s without what chance adds, nats',
  'missing_classes': 'Missing classes',
  'class_entropy_nats': 'Entropy of the classes, nats',
  'unclaimed': 'Share that no class claims',
  'label_accuracy': 'Share that the classifier calls by the label asked for',
}

# Means that one name had under several definitions, and the fields that tell these apart.
DEFINED_BY = {
  'loss': ('objective.name', 'objective.weighting', 'objective.likelihood'),
  'elbo_nats': ('objective.likelihood',),
  'reconstruction_nats': ('objective.likelihood', 'objective.log_variance'),
  'distance': ('objective.constraint', 'objective.clip'),
  'distance_in_critic_units': ('objective.constraint', 'objective.clip'),
  'noise_squared_error': ('objective.schedule', 'objective.timesteps'),
  'importance_weighted_nats': ('objective.likelihood', 'evaluation.importance_samples'),
  **dict.fromkeys(('l1', 'l1_untranslated', 'l1_back'), ('data.pair',)),
}


def label(metric: str) -> str:
  """A metric in words, with an arrow towards the better values; most real images are the best."""
  plain = metric.rpartition('_')[0]
  return f'{LABELS.get(plain, metric)} {arrow(metric) or "≈ real"}'


def arrow(metric: str) -> str:
  """Towards the better values; '' where neither the least nor the largest is the best."""
  return '↓' if metric.startswith(LOWER) else '↑' if metric.startswith(HIGHER) else ''


class Cell(NamedTuple):
  """What a table says about one group.

  Attributes:
    value: the mean.
    spread: what stands after ±.
    spread_is: what that is.
    of: of how many.
    reason: why there is no value.
    error: standard error of the value, None where it is not known.
    freedom: degrees of freedom of that error, one less than the runs that it was taken from.
    values: of each run, None of one that has none.
  """

  value: float | None = None
  spread: float | None = None
  spread_is: str = ''
  of: str = ''
  reason: str = ''
  error: float | None = None
  freedom: float = math.inf
  values: tuple[float | None, ...] = ()

  @property
  def text(self) -> str:
    """The value with its spread, or a dash."""
    if self.value is None:
      return '–'
    if self.spread is not None and self.spread > 1e-6 * abs(self.value):
      decimals = max(0, 1 - math.floor(math.log10(self.spread)))  # two digits of the spread
      return f'{self.value:,.{decimals}f} ± {self.spread:,.{decimals}f}'
    whole = float(self.value).is_integer() or abs(self.value) >= 10_000
    value = f'{self.value:,.0f}' if whole else f'{self.value:.4g}'
    return value if self.spread is None else f'{value} ± 0'


class Row(NamedTuple):
  """One quantity of all groups and of real images.

  Attributes:
    name: in words.
    protocol: how it was measured, or what defines it.
    cells: of each group.
    best: the places of the best values.
    real: of real images.
    metric: its name in the evaluation.
  """

  name: str
  protocol: str
  cells: list[Cell]
  best: frozenset[int] = frozenset()
  real: Cell = Cell()
  metric: str = ''


def summarise(runs: Sequence[Sequence[float]], error: float | None = None) -> Cell:
  """Mean and deviation over runs; of one run over its sets of samples, or its standard error.

  Args:
    runs: the values of each run, one for each set of samples; runs without any are left out.
    error: standard error of one value, where it is known. The error of a mean over few runs is not
      taken for less than the samples alone give it.
  """
  each = tuple(float(np.mean(values)) if values else None for values in runs)
  means = [mean for mean in each if mean is not None]
  if not means:
    return Cell()
  of = [values for values in runs if values]
  count = sum(map(len, of))
  if count == 1:
    what = 'standard error' if error is not None else ''
    return Cell(means[0], error, what, error=error, values=each)
  if len(of) > 1:
    spread, what, number = deviation(means), 'deviation over training runs', f'{len(of)} runs'
  else:
    spread, what = deviation(of[0]), 'deviation over sets of samples of one training run'
    number = f'{count} sets'
  repeats = len(of) if len(of) > 1 else count
  of_mean = max(spread / math.sqrt(repeats), (error or 0) / count**0.5)
  mean = float(np.mean(means))
  return Cell(mean, spread, what, number, error=of_mean, freedom=repeats - 1, values=each)


def score_rows(groups: Groups, which: str, split: str) -> list[Row]:
  """The scores against one split, a row for each protocol: no row holds numbers of two."""
  found: dict[tuple[Any, ...], dict[str, list[list[Number]]]] = {}
  real: dict[tuple[Any, ...], Number] = {}
  for name, runs in groups.items():
    for place, run in enumerate(runs):
      real |= {number.protocol.comparable: number for number in run.numbers['real']}
      for number in run.numbers[which]:
        if number.protocol.split == split:
          by_group = found.setdefault(number.protocol.comparable, {})
          by_group.setdefault(name, [[] for _ in runs])[place].append(number)
  rows = []
  for key, by_group in found.items():
    cells = [cell_of(by_group.get(name, [])) for name in groups]
    protocols = [n.protocol for runs in by_group.values() for run in runs for n in run]
    metric = protocols[0].metric
    floor = real_cell(real.get(key))
    winners = best(metric, cells, floor)
    rows.append(Row(label(metric), several(protocols), cells, winners, floor, metric))
  return rows


def cell_of(runs: Sequence[Sequence[Number]]) -> Cell:
  """What the numbers of one protocol come to, in the runs of one group."""
  numbers = [number for run in runs for number in run if number.value is not None]
  measured = [[n.value for n in run if n.value is not None] for run in runs]
  errors = [n.standard_error for n in numbers if n.standard_error is not None]
  error = float(np.sqrt(np.mean(np.square(errors)))) if errors else None
  reason = next((number.reason for run in runs for number in run if number.reason), '')
  return summarise(measured, error)._replace(reason=reason)


def real_cell(number: Number | None) -> Cell:
  """What real images score."""
  if number is None or number.value is None:
    return Cell(reason=number.reason or '' if number else '')
  of = f'{number.sets} sets' if number.sets > 1 else ''
  error = number.standard_error
  return Cell(number.value, error, 'error of one set of real images', of, error=error)


def best(metric: str, cells: Sequence[Cell], real: Cell) -> frozenset[int]:
  """The place of the best value, if its lead over every other is more than noise explains.

  A value beyond that of real images counts as theirs: nothing is gained there.
  """
  measured = {place: cell for place, cell in enumerate(cells) if cell.value is not None}
  if len(measured) < 2 or not metric.startswith(LOWER + HIGHER):
    return frozenset()
  sign = 1.0 if metric.startswith(LOWER) else -1.0
  least = -math.inf if real.value is None else sign * real.value
  values = {place: max(sign * cell.value, least) for place, cell in measured.items()}
  first = min(values, key=values.__getitem__)

  def leads(other: int) -> bool:
    return values[other] - values[first] > noise(measured[first], measured[other])

  return frozenset({first} if all(leads(other) for other in values if other != first) else ())


def noise(one: Cell, other: Cell) -> float:
  """The difference of two means that chance alone makes in one of twenty pairs (Welch 1947).

  Few runs say little of how far runs spread: of two groups of three, it is two to four combined
  standard errors.
  """
  if one.error is None or other.error is None:
    return math.inf
  variance = one.error**2 + other.error**2
  unsure = one.error**4 / one.freedom + other.error**4 / other.freedom
  freedom = variance**2 / unsure if unsure else math.inf
  return math.sqrt(variance) * float(scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def plain_rows(groups: Groups, look: Callable[[Run], dict[str, Any]]) -> list[Row]:
  """A row for each number that `look` finds in a run, by its name and definition."""
  found: dict[tuple[str, str], dict[str, list[list[float]]]] = {}
  for group_name, runs in groups.items():
    for place, run in enumerate(runs):
      for name, value in look(run).items():
        by_group = found.setdefault((name, definition(name, run)), {})
        by_group.setdefault(group_name, [[] for _ in runs])[place] += numbers([value])
  return [
    Row(name, defined, [summarise(by_group.get(group, [])) for group in groups], metric=name)
    for (name, defined), by_group in found.items()
  ]


def definition(name: str, run: Run) -> str:
  """What tells a mean from others of its name, '' where the name says it all."""
  fields = DEFINED_BY.get(name, ())
  if run.config.get('data.binarize', 'none') != 'none' and name in run.evaluation.get('ema', {}):
    fields += ('data.binarize',)
  return ', '.join(f'{field}={run.config[field]}' for field in fields if field in run.config)


def numbers(values: Iterable[Any]) -> list[float]:
  """Those of the values that are numbers."""
  return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def cost(run: Run) -> dict[str, Any]:
  """What training and sampling took."""
  stored = as_dict(run.evaluation.get('cost'))
  images = run.step * run.config['batch_size']
  return {
    **stored,
    # 0 where a model has no products that could be counted
    'training_teraflops': 1e-12 * (stored.get('training_flops_per_image') or 0) * images or None,
    'training_steps': run.step,
    'training_seconds': run.training_seconds,
    'training_images_per_second': median(run, 'images_per_second'),
    'training_model_flops_utilization': median(run, 'model_flops_utilization') or None,
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

  def add(title: str, rows: list[Row], scores: bool, raw: bool) -> None:
    sections.append({'title': title, 'rows': rows, 'scores': scores, 'raw': raw})

  for which, parameters in PARAMETERS.items():
    raw = which == 'raw'
    if raw:
      add('Cost', plain_rows(groups, cost), scores=False, raw=False)
    for split, where in SPLITS.items():
      title = f'Scores {where}, {parameters}'
      add(title, score_rows(groups, which, split), scores=True, raw=raw)

    def means(run: Run, which: str = which) -> dict[str, Any]:
      return as_dict(run.evaluation.get(which))

    title = f'Means over test images, {parameters}'
    add(title, plain_rows(groups, means), scores=False, raw=raw)
  return [section for section in sections if section['rows']]
