"""The report's comparison: no row mixes protocols, and no number is the best of several."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.evaluation.protocol import Number, several
from jaxgen.report.groups import Groups
from jaxgen.report.runs import Run, as_dict
from jaxgen.report.summaries import Summary, noise, summarise

LOWER = ('fid', 's4_legacy', 'kid', 'class_kl', 'missing_classes')
HIGHER = ('precision', 'recall', 'coverage', 'inception_score', 'label_accuracy')

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
# What errors of diffusion models are averaged over.
NOISE = ('objective.path', 'objective.P_mean', 'objective.P_std', 'objective.sigma_data')


def label(metric: str) -> str:
  """A metric in words, with an arrow towards the better values; most real images are the best."""
  plain = metric.rpartition('_')[0]
  return f'{LABELS.get(plain, metric)} {arrow(metric) or "≈ real"}'


def arrow(metric: str) -> str:
  """Towards the better values; '' where neither the least nor the largest is the best."""
  return '↓' if metric.startswith(LOWER) else '↑' if metric.startswith(HIGHER) else ''


class Row(NamedTuple):
  """One quantity of all groups and of real images.

  Attributes:
    name: in words.
    protocol: how it was measured, or what defines it.
    summaries: of each group.
    best: the places of the best values.
    real: of real images.
    metric: its name in the evaluation.
  """

  name: str
  protocol: str
  summaries: list[Summary]
  best: frozenset[int] = frozenset()
  real: Summary = Summary()
  metric: str = ''


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
    summaries = [summary_of(by_group.get(name, [])) for name in groups]
    protocols = [n.protocol for runs in by_group.values() for run in runs for n in run]
    metric = protocols[0].metric
    floor = real_summary(real.get(key))
    winners = best(metric, summaries, floor)
    rows.append(Row(label(metric), several(protocols), summaries, winners, floor, metric))
  return rows


def summary_of(runs: Sequence[Sequence[Number]]) -> Summary:
  """What the numbers of one protocol come to, in the runs of one group."""
  numbers = [number for run in runs for number in run if number.value is not None]
  measured = [[n.value for n in run if n.value is not None] for run in runs]
  errors = [n.standard_error for n in numbers if n.standard_error is not None]
  error = float(np.sqrt(np.mean(np.square(errors)))) if errors else None
  reason = next((number.reason for run in runs for number in run if number.reason), '')
  return summarise(measured, error)._replace(reason=reason)


def real_summary(number: Number | None) -> Summary:
  """What real images score."""
  if number is None or number.value is None:
    return Summary(reason=number.reason or '' if number else '')
  of = f'{number.sets} sets' if number.sets > 1 else ''
  error = number.standard_error
  return Summary(number.value, error, 'error of one set of real images', of, error=error)


def best(metric: str, summaries: Sequence[Summary], real: Summary) -> frozenset[int]:
  """The place of the best value, if its lead over every other is more than noise explains.

  A value beyond that of real images counts as theirs: nothing is gained there.
  """
  measured = {
    place: summary for place, summary in enumerate(summaries) if summary.value is not None
  }
  if len(measured) < 2 or not metric.startswith(LOWER + HIGHER):
    return frozenset()
  sign = 1.0 if metric.startswith(LOWER) else -1.0
  least = -math.inf if real.value is None else sign * real.value
  values = {place: max(sign * summary.value, least) for place, summary in measured.items()}
  first = min(values, key=values.__getitem__)

  def leads(other: int) -> bool:
    return values[other] - values[first] > noise(measured[first], measured[other])

  return frozenset({first} if all(leads(other) for other in values if other != first) else ())


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
  fields = DEFINED_BY.get(name, ()) + NOISE * name.endswith('_squared_error')
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
