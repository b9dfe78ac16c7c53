"""The report's legacy distance among the other scores."""

from pathlib import Path

import numpy as np
import pytest

from jaxgen import configuration, datasets
from jaxgen.evaluation import scores
from jaxgen.features import pixels, s4_legacy

ROOT = Path(__file__).parent.parent


def test_the_legacy_distance_stands_beside_the_others(
  monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
  digits = datasets.named('digits')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(scores, 'kinds', lambda *_: ([pixels.build(digits.image_shape)], ''))
  called: list[tuple[int, int]] = []

  def distance(real: np.ndarray, made: np.ndarray) -> tuple[float, float]:
    called.append((len(real), len(made)))
    return 12.5 * len(called), 0.5

  legacy = s4_legacy.Legacy(distance, 'cafe' * 16)
  monkeypatch.setattr(s4_legacy, 'build', lambda _: legacy)
  config = configuration.load(str(ROOT / 'experiments/vae.py'), None, [])
  config.evaluation.s4_legacy_weights = 'weights.pth'
  scorer, samples = scores.Scorer(digits, config, ('test', 'train')), digits.test.images[:100]
  found = scorer.score([samples], seed=3)
  assert called == [(len(digits.test.images), 100)] * 2
  name = str(found[0].numbers[-1].protocol)
  assert name.startswith('s4_legacy:cafecafe@v2[digits/test:')
  assert name.endswith(f' n=100 against {len(digits.test.images)} seed=3]')
  assert (found[0].numbers[-1].value, found[0].numbers[-1].standard_error) == (12.5, 0.5)
  beside = found[0].real.numbers[-1]  # as many real images in the place of the samples, once
  assert (beside.value, beside.standard_error) == (25.0, 0.5)
  assert beside.protocol.comparable == found[0].numbers[-1].protocol.comparable
  again = scorer.score([samples], seed=4)
  assert [len(called), again[0].real.numbers.count(beside)] == [3, 1]
