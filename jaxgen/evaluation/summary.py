"""An evaluation in about ten lines, for who has just waited for it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen.evaluation.protocol import Number, deviation

MEANS = 4  # of test images that are shown
SCORES = ('fid', 'precision', 'recall', 'inception_score', 'missing_classes', 'label_accuracy')
COLUMNS = {'ema': 'averaged', 'raw': 'raw', 'real': 'real images'}


def table(results: Mapping[str, Any]) -> str:
  """The first means and the scores against the test split, of averaged and perhaps raw parameters.

  Args:
    results: what `inference.evaluate` writes to evaluation.json.
  """
  real = results.get('ema_scores', {}).get('real', {})
  looked_at = [which for which in ('ema', 'raw') if which in results]
  scores = {which: numbers(results.get(f'{which}_scores', {})) for which in looked_at}
  scores['real'] = numbers(real)
  rows = [
    [name, *(f'{results[which][name]:.5g}' for which in looked_at), '']
    for name in list(results['ema'])[:MEANS]
  ]
  rows += [[name, *(found.get(name, '') for found in scores.values())] for name in scores['ema']]
  head = ['', *(COLUMNS[which] for which in scores)]
  return '\n'.join([*aligned([head, *rows]), *remarks(results)])


def of_samples(results: Mapping[str, Any]) -> str:
  """The scores against the test split of samples from anywhere, beside those of real images.

  Args:
    results: what `foreign.evaluate` gives.
  """
  given, real = numbers(results['scores']), numbers(results['scores'].get('real', {}))
  rows = [[name, value, real.get(name, '')] for name, value in given.items()]
  said = f'{results["samples"]} samples against the test split'
  table = aligned([['', 'samples', COLUMNS['real']], *rows])
  return '\n'.join([*table, said, *reasons(results['scores']), *stand_in(results)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
  """Lines of a table, its first column to the left and the others to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
    for row in rows
  ]


def numbers(section: Mapping[str, Any]) -> dict[str, str]:
  """The scores that are shown, by their metric: the mean over sets of samples, ± its error.

  That is the deviation of several sets, and else the standard error of one.
  """
  found: dict[str, list[Number]] = {}
  for number in shown(section):
    found.setdefault(number.protocol.metric, []).append(number)
  return {metric: in_words(sets) for metric, sets in found.items()}


def shown(section: Mapping[str, Any]) -> list[Number]:
  """The numbers of some scores that are for the console."""
  found = [Number.from_json(stored) for stored in section.get('numbers', ())]
  chosen = [number for number in found if number.protocol.metric.startswith(SCORES)]
  return [number for number in chosen if number.protocol.split in ('test', '')]


def reasons(section: Mapping[str, Any]) -> list[str]:
  """Why there is no number where there is none."""
  lost = [number for number in shown(section) if number.value is None]
  return list(dict.fromkeys(f'{number.protocol.metric}: {number.reason}' for number in lost))


def in_words(sets: Sequence[Number]) -> str:
  """12.3 ± 0.4, as far as an error is known; a dash where there is no number."""
  values = [number.value for number in sets if number.value is not None]
  if not values:
    return '–'
  error = deviation(values) if len(values) > 1 else sets[0].standard_error
  mean = f'{np.mean(values):.4g}'
  return mean if error is None else f'{mean} ± {error:.2g}'


def remarks(results: Mapping[str, Any]) -> list[str]:
  """What stands below: how much was looked at, and what it cost."""
  cost = results['cost']
  parts = [f'step {results["step"]}', f'{results["test_images"]} test images']
  if 'ema_scores' in results:
    parts.append(f'{results["evaluation"]["num_samples"]} samples against the test split')
  each = cost['network_evaluations_per_sample']
  parts += [f'{each} network evaluation{"s" if each > 1 else ""} each'] if each else []
  seconds = cost.get('seconds_per_1000_samples')
  parts += [f'{seconds:.3g} s for 1,000 of them'] if seconds else []
  said = f'{", ".join(parts)}; {cost["parameters"]:,} parameters'
  return [said, *reasons(results.get('ema_scores', {})), *stand_in(results)]


def stand_in(results: Mapping[str, Any]) -> list[str]:
  """Why features are not the classifier's, where they are not."""
  reason = results.get('no_classifier')
  return [f'pixels stand in for the classifier: {reason}'] if reason else []
