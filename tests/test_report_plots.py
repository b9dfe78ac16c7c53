"""Plots of the report show all there is, under the names that it has."""

import base64
import json
import re
from pathlib import Path

import numpy as np

from jaxgen.evaluation.protocol import Number
from jaxgen.report import plots, runs

from .test_report import FID, NAME, made, workdir


def scored(folder: Path, name: str, *values: float) -> None:
  """Scores in training, every ten steps."""
  with (folder / 'metrics.jsonl').open('a') as file:
    for step, value in zip((10, 20), values, strict=True):
      record = {'step': step, 'validation/elbo_nats': -1.0, f'score/{name}': value}
      file.write(json.dumps(record) + '\n')


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


def test_distances_in_training_are_drawn_over_its_time(tmp_path: Path) -> None:
  a = workdir(tmp_path / 'a', Number(FID, 1.0))
  scored(a, NAME, 40.0, 30.0)
  b = workdir(tmp_path / 'b', batch_size=20)
  plot = NAME.replace(' seed=0', '')
  assert runs.read(a)[0].distances() == {(plot, ''): ([2.0, 4.0], [40.0, 30.0])}
  assert f'{plot} against seconds of training; at the end: a 30' in made(tmp_path, a, b)
  assert 'against seconds of training' not in made(tmp_path, b)
  # Other samplers share the plot, by name; other features do not.
  scored(b, NAME.replace('seed=0', 'seed=1 by heun steps=9'), 30.0, 20.0)
  scored(b, NAME.replace('aaaa', 'cccc'), 3.0, 2.0)
  page = made(tmp_path, a, b)
  assert f'{plot} against seconds of training; at the end: a 30, b, heun steps=9 20' in page
  assert f'{plot.replace("aaaa", "cccc")} against seconds of training; at the end: b 2' in page


def test_distances_of_the_first_version_share_no_plot(tmp_path: Path) -> None:
  """They did not say by which features they were."""
  folders = [workdir(tmp_path / name, batch_size=size) for name, size in (('a', 10), ('b', 20))]
  for folder in folders:
    scored(folder, 'fid_classifier@v1[digits/train n=80 seed=0]', 40.0, 30.0)
  page = made(tmp_path, *folders)
  for name in 'ab':
    plot = f'fid_classifier@v1[digits/train n=80] of {name}'
    assert f'{plot} against seconds of training; at the end: {name} 30' in page


def test_labels_along_x_do_not_meet() -> None:
  """Decays near 1 stand in their order; what a scale can show is to scale."""
  decays = (0.99, 0.0, 0.999, 0.9)
  assert plots.ordered(decays, log=False) == sorted(decays)
  assert plots.ordered((0.001, 0.01, 0.1, 1.0), log=False)
  assert not plots.ordered((0.001, 0.01, 0.1, 1.0), log=True)
  assert plots.ordered(('heun', 'ddim', 'heun'), log=False) == ['heun', 'ddim']
  assert not plots.ordered((12.3412, 12.3413, 50.0), log=False)  # as measured, without labels

  drawn = plots.sweep({'': [[(decay, 2.0)] for decay in decays]}, 'decay', 'distance', '@v1')
  picture = base64.b64decode(drawn.light.partition(',')[2]).decode()
  places = [re.search(rf'x="([\d.]+)"[^>]*>{decay:g}</text>', picture) for decay in decays]
  left, *others = sorted(float(place[1]) for place in places if place)
  assert len(others) == len(decays) - 1
  gaps = np.diff([left, *others])
  assert gaps.min() > 0.9 * gaps.max()
