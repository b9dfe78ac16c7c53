"""What real images score in the place of samples: the noise floor of every number.

Training images are held against the test split, and test images against the training split, as
many of them as there are samples: most numbers depend on how many images are measured.
"""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.evaluation.measure import Origin, Real, Scores, score
from jaxgen.evaluation.protocol import VERSION, Number, deviation
from jaxgen.evaluation.references import Reference, Seen
from jaxgen.features import Features, cache, fingerprint

OTHER = {'test': 'train', 'train': 'test'}  # the reference -> the split that is held against it
SETS = 10  # most disjoint sets of real images
IMAGES = 20_000  # most of them in all, but for two sets
CACHED = 2  # goes up when what is kept changes, by another number say
SPREAD = 5  # sets whose deviation says more than the error of each


def real(
  against: dict[str, Reference],
  features: Features,
  origin: Origin,
  count: int,
  folder: Path | None = None,
) -> Real:
  """What `count` real images score, measured or found in the cache.

  Args:
    against: the 'test' and the 'train' split, seen by `features`.
    features: of both.
    origin: of the samples that stand beside; their seed and sampler say nothing here.
    count: the number of samples.
    folder: where what was found is kept, under the hash of all that decides it; None keeps nothing.
  """
  labels = {f'labels_{name}': reference.labels for name, reference in against.items()}
  images = {f'images_{name}': reference.seen.fingerprint for name, reference in against.items()}
  key = fingerprint(
    **labels, **images, features=features.fingerprint, version=VERSION, count=count,
    origin=tuple(origin._replace(seed=0, sampler='')), sets=(SETS, IMAGES, SPREAD), cached=CACHED,
  )  # fmt: skip
  path = folder / f'real-{features.name}-{key[:32]}.npz' if folder is not None else None
  kept = cache.load(path) if path is not None else None
  if kept is not None:
    with contextlib.suppress(ValueError):  # of another making: measured again
      return Real.from_json(json.loads(str(kept.get('real'))))
  found = _measure(against, features, origin, count)
  if path is not None:
    cache.save(path, real=json.dumps(found.to_json()))
  return found


def _measure(against: dict[str, Reference], features: Features, origin: Origin, count: int) -> Real:
  """Scores the sets against each split; numbers of the samples alone are those of test images."""
  numbers: list[Number] = []
  fid, reasons = {}, {}
  for split, other in OTHER.items():
    sets = disjoint(len(against[other].seen.features), count)
    if not len(sets):
      available = len(against[other].seen.features)
      reasons[split] = f'the {other} split has {available} images, and {count} are needed'
      continue
    line = f'{len(sets)} x {count} real {other} images are held against the {split} split'
    print(f'{line}, once', file=sys.stderr, flush=True)
    found = [
      score(
        _part(against[other].seen, rows),
        against,
        features,
        origin._replace(seed=seed, sampler=''),
        (split,),
        None if against[other].labels is None else against[other].labels[rows],
      )
      for seed, rows in enumerate(sets)
    ]
    wanted = {split, ''} if other == 'test' else {split}
    numbers += _means([n for one in found for n in one.numbers if n.protocol.split in wanted])
    fid[split] = _classes(found, split)
  return Real(numbers, fid, reasons)


def disjoint(available: int, count: int) -> np.ndarray:
  """Rows (sets, count) of as many disjoint random sets as there may be, perhaps none."""
  sets = min(available // count, max(2, IMAGES // count), SETS)
  return np.random.default_rng(0).permutation(available)[: sets * count].reshape(sets, count)


def _part(seen: Seen, rows: np.ndarray) -> Seen:
  """These images of what was seen."""
  probabilities = None if seen.probabilities is None else seen.probabilities[rows]
  return Seen(seen.features[rows], probabilities, seen.fingerprint)


def _means(numbers: Sequence[Number]) -> list[Number]:
  """Numbers of several sets -> one of each protocol."""
  found: dict[tuple[Any, ...], list[Number]] = {}
  for number in numbers:
    found.setdefault(number.protocol.comparable, []).append(number)
  return [_mean(group) for group in found.values()]


def _mean(group: Sequence[Number]) -> Number:
  """The mean of the sets, with the error of one of them: from their spread where they are many."""
  protocol = group[0].protocol._replace(seed=0)
  values = [number.value for number in group if number.value is not None]
  errors = [number.standard_error for number in group if number.standard_error is not None]
  if not values:
    return Number(protocol, None, reason=group[0].reason)
  if len(values) >= SPREAD or (len(values) > 1 and not errors):
    error = deviation(values)
  else:
    error = float(np.sqrt(np.mean(np.square(errors)))) if errors else None
  return Number(protocol, float(np.mean(values)), error, sets=len(values))


def _classes(found: Sequence[Scores], split: str) -> dict[str, list[float]]:
  """The Fréchet distance of each class: mean, deviation and number of the sets that have one."""
  distances: dict[str, list[float]] = {}
  for scores in found:
    for label, distance in scores.classes.get('fid', {}).get(split, {}).items():
      distances.setdefault(label, []).append(distance)
  return {label: [float(np.mean(of)), deviation(of), len(of)] for label, of in distances.items()}
