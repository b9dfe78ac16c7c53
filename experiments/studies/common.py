"""What all studies share; see `jaxgen.study.plan` for the fields."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

# Scored once, at the end, with samples enough for the classifier's distance on digits and on MNIST.
WATCHED = {'every': 0, 'training_samples': 0, 'num_samples': 1000}


def study(
  title: str,
  models: Mapping[str, Mapping[str, Any]],
  numbers: Sequence[str],
  x: str = 'model',
  axes: Mapping[str, Any] | None = None,
  besides: Mapping[str, Any] | None = None,
  overrides: Mapping[str, Any] | None = None,
  seeds: Sequence[int] = (0, 1, 2),
  log: Sequence[str] = (),
) -> ml_collections.ConfigDict:
  """A study whose runs are evaluated at the end alone, unless `overrides` say otherwise."""
  fixed = {'evaluation': dict(WATCHED), 'checkpoint': {'best': ''}}
  result = ml_collections.ConfigDict(fixed)
  result.update(dict(overrides or {}))
  return ml_collections.ConfigDict(
    {
      'title': title,
      'models': dict(models),
      'overrides': result.to_dict(),
      'axes': dict(axes or {}),
      'besides': dict(besides or {}),
      'seeds': tuple(seeds),
      'numbers': tuple(numbers),
      'x': x,
      'log': tuple(log),
    }
  )


def model(experiment: str, dataset: str, **overrides: Any) -> dict[str, Any]:
  """An experiment of the folder above, on a dataset, with fields of its own."""
  return {'experiment': f'../{experiment}.py:{dataset}', 'overrides': overrides}
