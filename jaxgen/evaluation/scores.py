"""Samples and data -> every number of the evaluation protocol, each with how it was made."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from jaxgen.datasets.splits import Dataset, Images
from jaxgen.errors import UserError
from jaxgen.evaluation.held_out import first
from jaxgen.evaluation.measure import Origin, Scores, score
from jaxgen.evaluation.protocol import Number, Protocol, over_seeds, sampler_name
from jaxgen.evaluation.real import Real, real
from jaxgen.evaluation.references import kinds, look, references
from jaxgen.features import cache, s4_legacy


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
      config: of the run: its `data` and `sampler` sections and `evaluation.inception_weights`.
      splits: the references, 'test' and 'train' or one of them.

    Raises:
      UserError: the weights cannot be used.
    """
    size = config.data.image_size
    resize = f'lanczos{size}' if size else 'none'
    self._origin = Origin(config.data.name, resize, 0, sampler_name(config.get('sampler')))
    self._real: dict[int, list[Real]] = {}  # by the number of samples
    self._both = {'test', 'train'} <= set(splits)
    named = config.evaluation
    self.kinds, self.reason = kinds(dataset, named.inception_weights, named.classifier_weights)
    self._against = [references(dataset, one, splits, cache.folder()) for one in self.kinds]
    weights = config.evaluation.s4_legacy_weights if 'test' in splits else ''
    self._legacy = self._legacy_score(weights, dataset.test.images) if weights else None

  def score(self, chunks: Iterable[np.ndarray], seed: int) -> list[Scores]:
    """The scores of samples drawn with this seed, one for each kind of features.

    Where both splits are the references, those of as many real images stand beside.
    """
    kept: list[np.ndarray] = []
    chunks = first(chunks, s4_legacy.COUNT, kept) if self._legacy else chunks
    seen = look(chunks, self.kinds)
    origin = self._origin._replace(seed=seed)
    found = [
      score(samples, against, features, origin)
      for samples, against, features in zip(seen, self._against, self.kinds, strict=True)
    ]
    if self._both:
      found = self._beside(found, len(seen[0].features))
    if self._legacy:
      found[0].numbers.append(self._legacy(np.concatenate(kept), seed))
    return found

  def _beside(self, scores: Sequence[Scores], count: int) -> list[Scores]:
    """The same with what as many real images score, measured once for each count."""
    if count not in self._real:
      self._real[count] = [
        real(against, features, self._origin, count, cache.folder())
        for against, features in zip(self._against, self.kinds, strict=True)
      ]
    pairs = zip(scores, self._real[count], strict=True)
    return [one._replace(real=found) for one, found in pairs]

  def _legacy_score(self, weights: str, test: Images) -> Callable[[np.ndarray, int], Number]:
    """Makes the number that `s4_legacy` defines, to random test images as in its source.

    Raises:
      UserError: the weights cannot be used.
    """
    try:
      legacy = s4_legacy.build(Path(weights).expanduser())
    except ValueError as error:
      raise UserError(f'config.evaluation.s4_legacy_weights: {error}') from error
    shown = test[np.random.default_rng(0).permutation(len(test))[: s4_legacy.COUNT]]

    def number(samples: np.ndarray, seed: int) -> Number:
      protocol = Protocol(
        metric='s4_legacy',
        fingerprint=legacy.fingerprint[:16],
        split='test',
        reference=hashlib.sha256(shown.tobytes()).hexdigest()[:16],
        reference_images=len(shown),
        samples=len(samples),
        **self._origin._replace(seed=seed)._asdict(),
      )
      try:
        return Number(protocol, legacy.distance(shown, samples))
      except ValueError as error:
        return Number(protocol, None, reason=str(error))

    return number


def joined(sets: Sequence[Sequence[Scores]]) -> dict[str, Any]:
  """Scores of one or more sets of samples by kind of features, for JSON.

  Returns:
    `numbers` of all; of several sets also `means`, their mean and standard deviation over the
    seeds by protocol; `classes` of the first set, under the first features; `real`, what as many
    real images score, where that was measured.
  """
  numbers = [number for scores in sets for one in scores for number in one.numbers]
  found: dict[str, Any] = {'numbers': [number.to_json() for number in numbers]}
  if len(sets) > 1:
    found['means'] = [spread._asdict() for spread in over_seeds(numbers)]
  real = [one.real for one in sets[0] if one.real]
  if real:
    numbers = [number for one in real for number in one.numbers]
    found['real'] = real[0]._replace(numbers=numbers).to_json()
  return found | {'classes': sets[0][0].classes}
