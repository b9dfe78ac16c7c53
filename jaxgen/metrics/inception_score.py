"""Inception score: exp E KL(p(y|x) || p(y)) (Salimans et al. 2016, sec. 4).

With any classifier's probabilities: the number depends on the classifier, so name it with it. It
looks at the samples alone; a model that repeats one good image of each class scores best.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import rel_entr

from jaxgen.metrics.checks import require_probabilities

SPLITS = 10


class InceptionScore(NamedTuple):
  """Mean over the splits, from 1 to the number of classes, and their standard deviation.

  The deviation is that of published scores, over n splits and not n - 1: the standard error of the
  mean is deviation / √(n - 1).
  """

  mean: float
  deviation: float


def inception_score(
  probabilities: np.ndarray, *, splits: int = SPLITS, seed: int = 0
) -> InceptionScore:
  """The score of each split of the shuffled images.

  Args:
    probabilities: (N, K), p(y|x) of each image.
    splits: parts that p(y) is estimated on, ten in the paper.
    seed: of the shuffle.

  Raises:
    ValueError: these are no probabilities, or there are more splits than images.
  """
  probabilities = require_probabilities(probabilities, 'generated')
  if not 1 <= splits <= len(probabilities):
    raise ValueError(f'{len(probabilities)} images do not make {splits} splits; take fewer')
  order = np.random.default_rng(seed).permutation(len(probabilities))
  scores = [
    np.exp(rel_entr(part, part.mean(axis=0, keepdims=True)).sum(axis=1).mean())
    for part in np.array_split(probabilities[order], splits)
  ]
  return InceptionScore(float(np.mean(scores)), float(np.std(scores)))
