"""Samples and data -> every number of the evaluation protocol, each with how it was made."""

from collections.abc import Iterable, Sequence
from typing import Any

import ml_collections
import numpy as np

from jaxgen.datasets.splits import Dataset
from jaxgen.evaluation.held_out import first
from jaxgen.evaluation.legacy import Legacy
from jaxgen.evaluation.measure import Origin, Scores, score
from jaxgen.evaluation.protocol import over_seeds, sampler_name
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
    self._legacy = Legacy(weights, dataset, self._origin) if weights else None

  def score(
    self, chunks: Iterable[np.ndarray], seed: int, labels: np.ndarray | None = None
  ) -> list[Scores]:
    """The scores of samples drawn with this seed, one for each kind of features.

    The labels are those that the samples were asked for, see `measure.score`.

    Where both splits are the references, those of as many real images stand beside.
    """
    kept: list[np.ndarray] = []
    chunks = first(chunks, s4_legacy.COUNT, kept) if self._legacy else chunks
    seen = look(chunks, self.kinds)
    origin = self._origin._replace(seed=seed)
    found = [
      score(samples, against, features, origin, labels=labels)
      for samples, against, features in zip(seen, self._against, self.kinds, strict=True)
    ]
    if self._both:
      found = self._beside(found, len(seen[0].features))
    if self._legacy:
      samples = np.concatenate(kept)
      found[0].numbers.append(self._legacy.number(samples, seed))
      if found[0].real:
        beside = [*found[0].real.numbers, self._legacy.real(len(samples))]
        found[0] = found[0]._replace(real=found[0].real._replace(numbers=beside))
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
