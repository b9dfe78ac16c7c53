"""Samples of anybody -> their distance, by the protocol of all jaxgen runs."""

from functools import cached_property
from pathlib import Path

import numpy as np

from jaxgen import configuration, datasets
from jaxgen.evaluation.protocol import Number
from jaxgen.evaluation.scores import Scorer
from tests.benchmarks.contender import Contender

METRIC = 'fid_'  # and the name of the features
SETS = 3  # of real images


class Judge:
  """The Fréchet distance to the test images, in features of the data's classifier.

  Attributes:
    protocol: of the last number.
  """

  def __init__(self, contender: Contender) -> None:
    """Of the data that a contender is trained on, prepared when the first samples come."""
    self._config = configuration.load(contender.source, None, contender.overrides)
    self.protocol = ''

  @cached_property
  def _data(self) -> datasets.splits.Dataset:
    return datasets.load(self._config.data)

  @cached_property
  def _scorer(self) -> Scorer:
    return Scorer(self._data, self._config, ('test',))

  def number(self, samples: np.ndarray) -> Number:
    """The distance of uint8 (N, H, W, C), and its standard error."""
    scores = self._scorer.score([samples], seed=0)[0]
    found = next(n for n in scores.numbers if n.protocol.metric.startswith(METRIC))
    self.protocol = str(found.protocol._replace(sampler=''))
    return found

  def file(self, path: Path) -> Number:
    """The distance of the array `samples` in an .npz file."""
    with np.load(path) as arrays:
      return self.number(arrays['samples'])

  def floor(self, count: int) -> float:
    """The mean distance of a few sets of as many training images."""
    images = self._data.train.images
    rows = np.random.default_rng(0).permutation(len(images))
    sets = [rows[i * count : (i + 1) * count] for i in range(min(SETS, len(rows) // count))]
    return float(np.mean([self.number(images[np.sort(one)]).value for one in sets]))
