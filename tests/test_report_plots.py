"""Plots of the report show all there is, under the names that it has."""

import base64
import json
from pathlib import Path

from jaxgen.report import plots

from .test_report import made, workdir


def test_names_are_drawn_as_they_are() -> None:
  """Also those that matplotlib would leave out, or take for a formula that it cannot read."""
  lines = {
    '_mine': [([1.0, 2.0], [3.0, 2.0]), ([1.0, 2.0], [5.0, 4.0])],
    '$\\foo$': [([1.0], [2.0])],
  }
  drawn = plots.distance_over_time(lines, 'Fréchet distance')
  picture = base64.b64decode(drawn.light.partition(',')[2]).decode()
  for name in lines:
    assert name in picture
  assert drawn.alternative.endswith('at the end: _mine 3, $\\foo$ 2')  # the mean over seeds


def test_every_curve_is_on_the_page(tmp_path: Path) -> None:
  folder = workdir(tmp_path / 'run')
  records = [
    {'step': step} | {f'train/layer_{k}/kl': 1.0 * k * step for k in range(30)} for step in (10, 20)
  ]
  (folder / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in records))
  page = made(tmp_path, folder)
  assert all(f'layer_{k}/kl over steps' in page for k in range(30))
  assert '<summary>6 more</summary>' in page
