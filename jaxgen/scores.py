"""Samples and data -> every number of the evaluation protocol, each with how it was made."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from jaxgen.data import Dataset, Images
from jaxgen.errors import UserError
from jaxgen.evaluation import first
from jaxgen.metrics import cache, s4_legacy
from jaxgen.metrics.balance import ClassBalance, class_balance, class_frechet
from jaxgen.metrics.coverage import manifold_overlap
from jaxgen.metrics.features import Features
from jaxgen.metrics.frechet import frechet_distance, moments
from jaxgen.metrics.inception_score import inception_score
from jaxgen.metrics.kernel import kernel_distance
from jaxgen.metrics.memorisation import memorisation
from jaxgen.protocol import Number, Protocol, over_seeds
from jaxgen.references import NO_LABELS, Reference, Seen, kinds, look, references

PAIRED = 10_000  # most images of precision, recall, density, coverage, of each side
REMEMBERED = 2000  # most samples and test images whose training neighbours are looked up
NEIGHBOURS = 5

NO_CLASSIFIER = 'class numbers come from the classifier of the data, and these are other features'


class Scores(NamedTuple):
  """The numbers of one set of samples under one kind of features."""

  numbers: list[Number]
  classes: dict[str, Any]  # histograms and per-class distances, or {'reason': why there are none}
  neighbours: np.ndarray | None  # (N, NEIGHBOURS), rows of the training split nearest to a sample


class Scorer:
  """The features and references of a dataset, prepared once for any number of scorings.

  Attributes:
    kinds: the features, see `references.kinds`.
    reason: why pixels stand in for the classifier, '' where they do not.
  """

  def __init__(
    self, dataset: Dataset, config: ml_collections.ConfigDict, splits: Sequence[str]
  ) -> None:
    """Looks at these splits of the data, or finds what was seen in the cache.

    Args:
      dataset: the data.
      config: of the run: its `data` section and `evaluation.inception_weights`.
      splits: the references, 'test' and 'train' or one of them.

    Raises:
      UserError: the weights cannot be used.
    """
    size = config.data.image_size
    self._name, self._resize = config.data.name, f'lanczos{size}' if size else 'none'
    named = config.evaluation
    self.kinds, self.reason = kinds(dataset, named.inception_weights, named.classifier_weights)
    self._against = [references(dataset, one, splits, cache.folder()) for one in self.kinds]
    weights = config.evaluation.s4_legacy_weights if 'test' in splits else ''
    self._legacy = self._legacy_score(weights, dataset.test.images) if weights else None

  def score(self, chunks: Iterable[np.ndarray], seed: int) -> list[Scores]:
    """The scores of samples drawn with this seed, one for each kind of features."""
    kept: list[np.ndarray] = []
    chunks = first(chunks, s4_legacy.COUNT, kept) if self._legacy else chunks
    found = [
      score(seen, against, features, dataset=self._name, resize=self._resize, seed=seed)
      for seen, against, features in zip(
        look(chunks, self.kinds), self._against, self.kinds, strict=True
      )
    ]
    if self._legacy:
      found[0].numbers.append(self._legacy(np.concatenate(kept), seed))
    return found

  def _legacy_score(self, weights: str, test: Images) -> Callable[[np.ndarray, int], Number]:
    """Makes the number that `s4_legacy` defines, to random test images as in its source.

    Raises:
      UserError: the weights cannot be used.
    """
    try:
      legacy = s4_legacy.build(Path(weights).expanduser())
    except ValueError as error:
      raise UserError(f'config.evaluation.s4_legacy_weights: {error}') from error
    real = test[np.random.default_rng(0).permutation(len(test))[: s4_legacy.COUNT]]

    def number(samples: np.ndarray, seed: int) -> Number:
      digest = hashlib.sha256(real.tobytes()).hexdigest()
      sizes = {'reference_images': len(real), 'samples': len(samples)}
      where = {'dataset': self._name, 'split': 'test', 'reference': digest[:16]}
      how = {'fingerprint': legacy.fingerprint[:16], 'resize': self._resize, 'seed': seed}
      protocol = Protocol('s4_legacy', **where, **sizes, **how)
      try:
        return Number(protocol, legacy.distance(real, samples))
      except ValueError as error:
        return Number(protocol, None, reason=str(error))

    return number


def joined(sets: Sequence[Sequence[Scores]]) -> dict[str, Any]:
  """Scores of one or more sets of samples by kind of features, for JSON.

  Returns:
    `numbers` of all; of several sets also `means`, their mean and standard deviation over the
    seeds by protocol; `classes` of the first set, under the first features.
  """
  numbers = [number for scores in sets for one in scores for number in one.numbers]
  found: dict[str, Any] = {'numbers': [number.to_json() for number in numbers]}
  if len(sets) > 1:
    found['means'] = [spread._asdict() for spread in over_seeds(numbers)]
  return found | {'classes': sets[0][0].classes}


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
  Memorisation is measured where both are given.

  Args:
    samples: what the model made, seen by `features`.
    against: the reference splits 'test', 'train' or both, seen by the same features.
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
  neighbours = _memory(add, samples, against) if len(against) > 1 else None
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
  if 'test' in against:
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
