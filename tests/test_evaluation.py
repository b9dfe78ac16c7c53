"""What is said and kept of samples on their way."""

import numpy as np
import pytest

from jaxgen import evaluation


def chunks(count: int, size: int) -> list[np.ndarray]:
  return [np.arange(i, i + size) for i in range(0, count, size)]


def test_progress_says_how_long_the_rest_will_take(
  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  """About every ten seconds, at the pace so far, and not when all is done."""
  clock = iter([1000.0, 1005.0, 1080.0, 1085.0, 1200.0])
  monkeypatch.setattr(evaluation.time, 'monotonic', lambda: next(clock))
  passed = list(evaluation.progress(chunks(40, 10), 40, 'raw'))
  np.testing.assert_array_equal(np.concatenate(passed), np.arange(40))
  assert capsys.readouterr().err == 'raw: 20 of 40 samples  ETA 1:20\n'


@pytest.mark.parametrize(('wanted', 'sizes'), [(0, []), (4, [4]), (10, [10]), (25, [10, 10, 5])])
def test_the_first_are_kept_as_they_pass(wanted: int, sizes: list[int]) -> None:
  kept: list[np.ndarray] = []
  passed = list(evaluation.first(chunks(40, 10), wanted, kept))
  assert len(passed) == 4
  assert list(map(len, kept)) == sizes
  np.testing.assert_array_equal(np.concatenate([[], *kept]), np.arange(wanted))
