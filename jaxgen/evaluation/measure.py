"""Images and references as features see them -> every number of the evaluation protocol."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from jaxgen.datasets.splits import subset
from jaxgen.evaluation.protocol import Number, Protocol
from jaxgen.evaluation.references import NO_LABELS, Reference, Seen
from jaxgen.features import Features
from jaxgen.metrics import frechet, kernel
from jaxgen.metrics.balance import class_balance, class_frechet
from jaxgen.metrics.coverage import overlap_and_errors
from jaxgen.metrics.inception_score import SPLITS, inception_score
from jaxgen.metrics.memorisation import memorisation
from jaxgen.metrics.neighbours import nearest

PAIRED = 10_000  # most images of precision, recall, density, coverage, of each side
REMEMBERED = 2000  # most samples and test images whose training neighbours are looked up
PICTURED = 100  # samples whose nearest training images are shown
NEIGHBOURS = 5

NO_CLASSIFIER = 'class numbers come from the classifier of the data, and these are other features'


class Origin(NamedTuple):
  """What a protocol says of the images that are measured.

  Attributes:
    dataset: the data's name.
    resize: what was done to the data's images before anything else.
    seed: of the samples; also of the metrics' own drawing of subsets of them.
    sampler: see `protocol.sampler_name`.
  """

  dataset: str
  resize: str = 'none'
  seed: int = 0
  sampler: str = ''


class Real(NamedTuple):
  """What real images score.

  Attributes:
    numbers: means over disjoint sets of real images, under the protocols of the samples (seed 0);
      the standard error is that of one set.
    fid: Fréchet distance of each class by reference and class: mean, deviation over sets, sets.
    reasons: why a reference has none, by its name.
  """

  numbers: list[Number]
  fid: dict[str, dict[str, list[float]]]
  reasons: dict[str, str]

  def to_json(self) -> dict[str, Any]:
    """The fields by name."""
    return self._asdict() | {'numbers': [number.to_json() for number in self.numbers]}

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """What `to_json` gave. Raises ValueError if it is something else."""
    if not isinstance(fields, Mapping) or not fields.keys() >= set(cls._fields):
      raise ValueError('what real images score is damaged; evaluate the model again')
    numbers = [Number.from_json(number) for number in fields['numbers']]
    return cls(numbers, dict(fields['fid']), dict(fields['reasons']))


class Scores(NamedTuple):
  """The numbers of one set of samples under one kind of features."""

  numbers: list[Number]
  classes: dict[str, Any]  # histograms and per-class distances, or {'reason': why there are none}
  neighbours: np.ndarray | None  # (n, NEIGHBOURS), training rows nearest to the first samples
  real: Real | None = None  # beside the samples, where there are two splits


class _Sheet:
  """Collects the numbers of one set of samples; a number that cannot be has its reason."""

  def __init__(
    self, samples: Seen, against: dict[str, Reference], features: Features, origin: Origin
  ) -> None:
    self.samples, self.against, self.origin = samples, against, origin
    self.numbers: list[Number] = []
    self._features = features

  def add(
    self,
    metrics: Sequence[str],
    measure: Callable[[], Sequence[Any]],
    split: str = '',
    images: int = 0,
    samples: int = 0,
  ) -> None:
    """Adds what `measure` finds: for each metric a number, or (number, standard error).

    Args:
      metrics: their names.
      measure: gives a value for each; its ValueError is the reason why there is none.
      split: the reference, '' for numbers of the samples alone.
      images: of the reference that are used.
      samples: that are used; 0 for all.
    """
    protocols = [self._protocol(metric, split, images, samples) for metric in metrics]
    try:
      values = measure()
    except ValueError as error:
      self.numbers.extend(Number(p, None, reason=str(error)) for p in protocols)
      return
    for made, value in zip(protocols, values, strict=True):
      self.numbers.append(Number(made, *(value if isinstance(value, tuple) else (value,))))

  def _protocol(self, metric: str, split: str, images: int, samples: int) -> Protocol:
    return Protocol(
      metric=f'{metric}_{self._features.name}',
      fingerprint=self._features.fingerprint[:16],
      split=split,
      reference=self.against[split].seen.fingerprint[:16] if split else '',
      reference_images=images,
      samples=samples or len(self.samples.features),
      **self.origin._asdict(),
    )


def score(
  samples: Seen,
  against: dict[str, Reference],
  features: Features,
  origin: Origin,
  splits: Sequence[str] | None = None,
  labels: np.ndarray | None = None,
) -> Scores:
  """Every number that these samples allow; for the others, the reason.

  Distances to the test and to the training split are numbers of their own, never mixed.
  Memorisation is measured where both are given.

  Args:
    samples: what the model made, seen by `features`.
    against: the reference splits 'test', 'train' or both, seen by the same features.
    features: of all of them.
    origin: of the samples.
    splits: those of `against` that samples are compared with, by default all.
    labels: (N,) that the samples were asked for, -1 of a model that takes none; None: not known.
  """
  sheet = _Sheet(samples, against, features, origin)
  splits = tuple(against) if splits is None else splits
  for split in splits:
    _distances(sheet, split)
  neighbours = None
  if len(against) > 1 and 'train' in splits:
    _memory(sheet)
    neighbours = _neighbours(samples.features[:PICTURED], against['train'].seen.features)
  return Scores(sheet.numbers, _classes(sheet, splits, labels), neighbours)


def _distances(sheet: _Sheet, split: str) -> None:
  """Fréchet and kernel distance; precision, recall, density, coverage of equally many images."""
  made, real = sheet.samples.features, sheet.against[split].seen.features

  def fid() -> list[tuple[float, float]]:
    reference = frechet.moments(real)
    distance = frechet.frechet_distance(reference, frechet.moments(made))
    return [(distance, frechet.standard_error(reference, made))]

  def kid() -> list[tuple[float, float]]:
    found = kernel.kernel_distance(made, real, seed=sheet.origin.seed)
    return [(found.mean, found.standard_error)]

  sheet.add(['fid'], fid, split, len(real))
  samples, images = kernel.divide(len(made), len(real)).used
  sheet.add(['kid'], kid, split, images, samples)
  count = min(len(made), len(real), PAIRED)

  def overlap() -> list[tuple[float, float]]:
    chosen, drawn = real[subset(len(real), count)], made[subset(len(made), count)]
    return list(zip(*overlap_and_errors(chosen, drawn), strict=True))

  sheet.add(('precision', 'recall', 'density', 'coverage'), overlap, split, count, count)


def _memory(sheet: _Sheet) -> None:
  """Distance ratio and authenticity."""
  train, test = (sheet.against[split].seen.features for split in ('train', 'test'))
  made = sheet.samples.features[subset(len(sheet.samples.features), REMEMBERED)]

  def measure() -> list[float]:
    found = memorisation(train, test[subset(len(test), REMEMBERED)], made)
    return [found.distance_ratio, found.authenticity]

  sheet.add(('distance_ratio', 'authenticity'), measure, 'train', len(train), len(made))


def _neighbours(made: np.ndarray, train: np.ndarray) -> np.ndarray | None:
  """The training rows nearest to these samples; None where they cannot be had."""
  try:
    return nearest(made, train, NEIGHBOURS).indices
  except ValueError:  # that memorisation has given as its reason
    return None


def _classes(sheet: _Sheet, splits: Sequence[str], asked: np.ndarray | None) -> dict[str, Any]:
  """Inception score, class balance, overall and class by class, and obedience to labels."""
  labels = [reference.labels for reference in sheet.against.values()]
  unfit = NO_LABELS if any(x is None for x in labels) else ''
  number_of_classes = 0 if unfit else 1 + max(int(x.max()) for x in labels)
  probabilities = sheet.samples.probabilities
  if not unfit and (probabilities is None or probabilities.shape[1] != number_of_classes):
    unfit = NO_CLASSIFIER
  if probabilities is not None:

    def inception() -> list[tuple[float, float]]:
      found = inception_score(probabilities, seed=sheet.origin.seed)
      return [(found.mean, found.deviation / math.sqrt(SPLITS - 1))]

    sheet.add(['inception_score'], inception)
  if unfit:
    return {'reason': unfit}
  made = probabilities.argmax(axis=1)
  if asked is not None and asked.min() >= 0:
    sheet.add(['label_accuracy'], lambda: [share(made == asked)])
  found: dict[str, Any] = {
    'histogram': np.bincount(made, minlength=number_of_classes).tolist(),
    **{'data': {}, 'missing': {}, 'fid': {}, 'fid_reasons': {}},
  }

  def against(split: str) -> list[Any]:
    (real, *_), labels = sheet.against[split]
    counts = np.bincount(labels, minlength=number_of_classes)
    balance = class_balance(probabilities, counts)
    within = class_frechet(real, labels, sheet.samples.features, made, number_of_classes)
    found['data'][split] = counts.tolist()
    found['missing'][split] = list(balance.missing)
    found['fid'][split] = {str(k): d for k, d in within.distances.items()}
    found['fid_reasons'][split] = {str(k): r for k, r in within.reasons.items()}
    divergence = (balance.kl_nats, balance.kl_standard_error)
    corrected = (balance.kl_corrected_nats, balance.kl_standard_error)
    return [divergence, corrected, len(balance.missing)]

  for split in splits:
    names = ('class_kl_nats', 'class_kl_corrected_nats', 'missing_classes')
    sheet.add(names, partial(against, split), split, len(sheet.against[split].labels))

  def alone() -> list[float]:
    balance = class_balance(probabilities, np.ones(number_of_classes))
    return [balance.entropy_nats, balance.unclaimed]

  sheet.add(['class_entropy_nats', 'unclaimed'], alone)
  return found


def share(right: np.ndarray) -> tuple[float, float]:
  """Of what is true, with its standard error, which is not nothing where all of it is."""
  likely = (right.sum() + 1) / (len(right) + 2)
  return float(right.mean()), math.sqrt(likely * (1 - likely) / len(right))
