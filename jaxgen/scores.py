"""Samples and data -> every number of the evaluation protocol, each with how it was made."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.metrics.balance import ClassBalance, class_balance, class_frechet
from jaxgen.metrics.coverage import manifold_overlap
from jaxgen.metrics.features import Features, classifier, inception, pixels
from jaxgen.metrics.frechet import frechet_distance, moments
from jaxgen.metrics.inception_score import inception_score
from jaxgen.metrics.kernel import kernel_distance
from jaxgen.metrics.memorisation import memorisation
from jaxgen.protocol import Number, Protocol

CHUNK = 1000  # reference images read at once
PAIRED = 10_000  # most images of precision, recall, density, coverage, of each side
REMEMBERED = 2000  # most samples and test images whose training neighbours are looked up
NEIGHBOURS = 5

NO_LABELS = 'the dataset has no labels'
NO_CLASSIFIER = 'class numbers come from the classifier of the data, and these are other features'


def kinds(dataset: data.Dataset, inception_weights: str = '') -> tuple[list[Features], str]:
  """The features that a dataset allows: its classifier's, or else pixels; inception's if asked.

  A classifier is trained once, and kept in ~/.cache/jaxgen/features (or below XDG_CACHE_HOME).

  Args:
    dataset: its training labels teach the classifier.
    inception_weights: a file, or '' for none.

  Returns:
    The features, and why pixels stand in for the classifier, '' where they do not.

  Raises:
    UserError: the weights cannot be used.
  """
  cache = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
  chosen, reason = [pixels.build(dataset.image_shape)], NO_LABELS
  (train, labels), (test, test_labels) = dataset.train, dataset.test
  if labels is not None and test_labels is not None:
    arrays = (train[np.arange(len(train))], labels, test[np.arange(len(test))], test_labels)
    try:
      chosen = [classifier.build(*arrays, folder=cache / 'jaxgen' / 'features')]
      reason = ''
    except ValueError as error:
      reason = str(error)
  if inception_weights:
    try:
      chosen.append(inception.build(Path(inception_weights).expanduser()))
    except ValueError as error:
      raise UserError(f'config.evaluation.inception_weights: {error}') from error
  return chosen, reason


def about(kinds: Sequence[Features]) -> list[dict[str, Any]]:
  """What the features were, for JSON."""
  fields = ('name', 'dimension', 'fingerprint', 'accuracy')
  return [{field: getattr(features, field) for field in fields} for features in kinds]


class Seen(NamedTuple):
  """Images as features see them."""

  features: np.ndarray  # float32 (N, d)
  probabilities: np.ndarray | None  # float32 (N, K)
  fingerprint: str  # hash of the pixels


class Reference(NamedTuple):
  """A split of the data as features see it, and its labels."""

  seen: Seen
  labels: np.ndarray | None


class Scores(NamedTuple):
  """The numbers of one set of samples under one kind of features."""

  numbers: list[Number]
  classes: dict[str, Any]  # histograms and per-class distances, or {'reason': why there are none}
  neighbours: np.ndarray | None  # (N, NEIGHBOURS), rows of the training split nearest to a sample


def joined(scores: Sequence[Scores]) -> dict[str, Any]:
  """The numbers of all kinds of features and the classes of the first, for JSON."""
  numbers = [number.to_json() for one in scores for number in one.numbers]
  return {'numbers': numbers, 'classes': scores[0].classes}


def look(chunks: Iterable[np.ndarray], kinds: Sequence[Features]) -> list[Seen]:
  """Streams images once through every kind of features; only the features are kept.

  Raises:
    ValueError: the images are of another shape or type, or there are none.
  """
  parts: list[list[Any]] = [[] for _ in kinds]
  digest = hashlib.sha256()
  for chunk in chunks:
    digest.update(np.ascontiguousarray(chunk).data)
    for part, features in zip(parts, kinds, strict=True):
      part.append(features.extract(chunk))
  if not all(parts):
    raise ValueError('There are no images to evaluate')
  return [
    Seen(
      np.concatenate([extracted.features for extracted in part]),
      None
      if part[0].probabilities is None
      else np.concatenate([extracted.probabilities for extracted in part]),
      digest.hexdigest(),
    )
    for part in parts
  ]


def references(dataset: data.Dataset, features: Features) -> dict[str, Reference]:
  """The test and the training split, in this order, as features see them."""
  found = {}
  for name in ('test', 'train'):
    images, labels = getattr(dataset, name)
    starts = range(0, len(images), CHUNK)
    chunks = (images[np.arange(s, min(s + CHUNK, len(images)))] for s in starts)
    found[name] = Reference(look(chunks, [features])[0], labels)
  return found


def score(
  samples: Seen,
  against: dict[str, Reference],
  features: Features,
  *,
  dataset: str,
  resize: str = 'none',
  seed: int = 0,
) -> Scores:
  """Every number that these samples allow; for the others, the reason.

  Distances to the test and to the training split are numbers of their own, never mixed.

  Args:
    samples: what the model made, seen by `features`.
    against: the reference splits 'test' and 'train', seen by the same features.
    features: of all of them.
    dataset: the data's name.
    resize: what was done to the data's images before anything else.
    seed: of the samples; also of the metrics' own drawing of subsets.
  """
  numbers: list[Number] = []

  def protocol(metric: str, split: str = '', images: int = 0, count: int = 0) -> Protocol:
    return Protocol(
      metric=f'{metric}_{features.name}',
      fingerprint=features.fingerprint[:16],
      dataset=dataset,
      split=split,
      reference=against[split].seen.fingerprint[:16] if split else '',
      reference_images=images,
      samples=count or len(samples.features),
      resize=resize,
      seed=seed,
    )

  def add(
    metrics: Sequence[str], measure: Callable[[], Sequence[Any]], *where: Any
  ) -> Sequence[Any] | None:
    """Measures; a value is a number or (number, standard error). Keeps the reason of failure."""
    protocols = [protocol(metric, *where) for metric in metrics]
    try:
      values = measure()
    except ValueError as error:
      numbers.extend(Number(p, None, reason=str(error)) for p in protocols)
      return None
    for made, value in zip(protocols, values, strict=False):
      numbers.append(Number(made, *(value if isinstance(value, tuple) else (value,))))
    return values

  for split, reference in against.items():
    _distances(add, samples, reference, split)
  neighbours = _memory(add, samples, against)
  classes = _classes(add, samples, against)
  return Scores(numbers, classes, neighbours)


def _distances(add: Callable[..., Any], samples: Seen, reference: Reference, split: str) -> None:
  """Fréchet and kernel distance; precision, recall, density, coverage of equally many images."""
  made, real = samples.features, reference.seen.features
  where = (split, len(real))
  add(['fid'], lambda: [frechet_distance(moments(real), moments(made))], *where)

  def kernel() -> list[tuple[float, float]]:
    distance = kernel_distance(real, made)
    return [(distance.mean, distance.standard_error)]

  add(['kid'], kernel, *where)
  count = min(len(made), len(real), PAIRED)
  chosen = np.sort(np.random.default_rng(0).permutation(len(real))[:count])
  names = ('precision', 'recall', 'density', 'coverage')
  add(names, lambda: list(manifold_overlap(real[chosen], made[:count])), split, count, count)


def _memory(
  add: Callable[..., Any], samples: Seen, against: dict[str, Reference]
) -> np.ndarray | None:
  """Distance ratio and authenticity; returns the nearest training images of the first samples."""
  train, test = (against[split].seen.features for split in ('train', 'test'))
  made = samples.features[:REMEMBERED]

  def measure() -> list[Any]:
    found = memorisation(train, test[:REMEMBERED], made, neighbours=NEIGHBOURS)
    return [found.distance_ratio, found.authenticity, found.neighbours.indices]

  names = ('distance_ratio', 'authenticity')
  values = add(names, measure, 'train', len(train), len(made))
  return values[2] if values else None


def _classes(
  add: Callable[..., Any], samples: Seen, against: dict[str, Reference]
) -> dict[str, Any]:
  """Inception score and class balance, overall and class by class."""
  labels = [reference.labels for reference in against.values()]
  unfit = NO_LABELS if any(x is None for x in labels) else ''
  number_of_classes = 0 if unfit else 1 + max(int(x.max()) for x in labels)
  probabilities = samples.probabilities
  if not unfit and (probabilities is None or probabilities.shape[1] != number_of_classes):
    unfit = NO_CLASSIFIER
  if probabilities is not None:

    def inception() -> list[tuple[float, float]]:
      found = inception_score(probabilities)
      return [(found.mean, found.deviation / np.sqrt(10))]

    add(['inception_score'], inception)
  if unfit:
    return {'reason': unfit}
  counts = {
    split: np.bincount(reference.labels, minlength=number_of_classes)
    for split, reference in against.items()
  }
  found: dict[str, Any] = {'data': {split: c.tolist() for split, c in counts.items()}}
  for split, count in counts.items():
    balance = _balance(add, probabilities, split, count)
    if balance is None:
      return {'reason': f'the {split} images do not show every class'}
    found['histogram'] = balance.histogram.tolist()
    found.setdefault('missing', {})[split] = list(balance.missing)
    within = class_frechet(
      against[split].seen.features,
      against[split].labels,
      samples.features,
      probabilities.argmax(axis=1),
      number_of_classes,
    )
    found.setdefault('fid', {})[split] = {str(k): d for k, d in within.distances.items()}
    found.setdefault('fid_reasons', {})[split] = {str(k): r for k, r in within.reasons.items()}
  add(['class_entropy_nats', 'unclaimed'], lambda: [balance.entropy_nats, balance.unclaimed])
  shown = against['test'].seen.probabilities
  found['unclaimed_test_images'] = class_balance(shown, counts['test']).unclaimed
  return found


def _balance(
  add: Callable[..., Any], probabilities: np.ndarray, split: str, count: np.ndarray
) -> ClassBalance | None:
  """The class balance against one split, and its numbers."""

  def measure() -> list[Any]:
    balance = class_balance(probabilities, count)
    return [balance.kl_nats, len(balance.missing), balance]

  values = add(['class_kl_nats', 'missing_classes'], measure, split, int(count.sum()))
  return values[2] if values else None


def first(chunks: Iterable[np.ndarray], count: int, keep: list[np.ndarray]) -> Iterator[np.ndarray]:
  """Passes chunks on, and puts the first `count` images into `keep`."""
  for chunk in chunks:
    wanted = count - sum(map(len, keep))
    if wanted > 0:
      keep.append(chunk[:wanted])
    yield chunk
