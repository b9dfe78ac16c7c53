"""A study's picture and page show samples as they are, and stay small."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import ml_collections
import numpy as np
import pytest
from PIL import Image

from jaxgen import images
from jaxgen.evaluation.protocol import Number
from jaxgen.inference import beside
from jaxgen.report import runs
from jaxgen.study import numbers, table
from jaxgen.study.cells import FINISHED
from jaxgen.study.page import line_name, page
from jaxgen.study.picture import GAP, LARGEST, LINE, caption, columns, picture
from jaxgen.study.plan import MODEL, Cell, Study
from jaxgen.study.results import Entry, Result
from tests.test_report import FID, workdir

SHAPE = 28, 28, 1
RANDOM = np.random.default_rng(0)


def noise(levels: int) -> np.ndarray:
  """Pictures that no compression makes smaller, of so many levels of grey: uint8 (10, *SHAPE)."""
  return (RANDOM.integers(levels, size=(10, *SHAPE)) * (255 // (levels - 1))).astype(np.uint8)


def sheet(samples: np.ndarray, train: np.ndarray) -> bytes:
  """What an evaluation draws of samples, and training images as the nearest to each."""
  rows = np.tile(np.arange(5), (len(samples), 1))
  return images.as_png(images.enlarge(beside(samples, rows, train), 240))


@pytest.fixture
def study(tmp_path: Path) -> Callable[[dict[str, bytes]], Result]:
  """The result of a study of so called models, three seeds each, with these sheets."""
  folder = workdir(tmp_path / 'run', Number(FID, 12.5))
  (folder / 'run.json').write_text(json.dumps({'image_shape': SHAPE}))
  (run,) = runs.read(folder)

  def made(sheets: dict[str, bytes]) -> Result:
    fields = {'title': 'Many', 'axes': {}, 'models': {name: {} for name in sheets}, 'x': MODEL}
    config = ml_collections.ConfigDict(fields | {'numbers': ('fid_classifier',), 'log': ()})
    groups = {}
    for name, content in sheets.items():
      members = [run._replace(folder=Path(f'{name}-{seed}')) for seed in range(3)]
      members = [one._replace(pictures={'neighbours': content}) for one in members]
      cells = [Cell(f'{name}{seed}', name, {}, seed, (), config, ()) for seed in range(3)]
      groups[name] = [
        Entry(cell, {MODEL: name}, FINISHED, '', 1.0, one)
        for cell, one in zip(cells, members, strict=True)
      ]
    everything = [entry for entries in groups.values() for entry in entries]
    found = Result(Study('many.py', config, (), ()), everything, groups, {}, [])
    names = ('fid_classifier', 'training_seconds')
    return found._replace(rows={name: numbers.rows_of(name, found.runs) for name in names})

  return made


@pytest.mark.parametrize(
  ('x', 'lines'),
  [
    ('steps', {'sampler=heun', 'sampler=ddim'}),
    ('sampler', {'steps=5', 'steps=9'}),
    ('network_evaluations_per_sample', {'sampler=heun', 'sampler=ddim'}),
    (MODEL, {f'sampler={name} steps={steps}' for name in ('heun', 'ddim') for steps in (5, 9)}),
  ],
)
def test_an_axis_of_numbers_runs_along_where_x_is_a_number(x: str, lines: set[str]) -> None:
  axes = {'sampler': {}, 'steps': {}}
  config = ml_collections.ConfigDict({'x': x, 'axes': axes, 'models': {'edm': {}}})
  result = Result(Study('many.py', config, (), ()), [], {}, {}, [])
  points = ({MODEL: 'edm', 'sampler': n, 'steps': s} for n in ('heun', 'ddim') for s in (5, 9))
  assert {line_name(result, point) for point in points} == lines


@pytest.mark.parametrize(
  ('point', 'shown'),
  [
    ({'constraint': 'r1_and_r2', 'loss': 'hinge'}, 'r1_and_r2 hinge'),
    ({'before': 'none', 'after': 'none'}, 'before=none after=none'),
    ({'beta': 0.5, 'clip': True}, 'beta=0.5 clip=True'),
  ],
)
def test_words_are_shown_without_their_axis(point: dict[str, object], shown: str) -> None:
  group = ' '.join(f'{axis}={value}' for axis, value in point.items())
  entry = Entry(None, {MODEL: 'gan'} | point, FINISHED, '', 1.0, None)
  assert caption(Result(None, [entry], {group: [entry]}, {}, []), group) == shown


def test_a_number_says_where_it_is_of(
  study: Callable[[dict[str, bytes]], Result], tmp_path: Path
) -> None:
  result = study({'first': sheet(noise(2), noise(2))})
  path = tmp_path / 'run' / 'evaluation.json'
  evaluation = json.loads(path.read_text())
  evaluation |= {'raw_scores': evaluation['ema_scores'], 'ema': {'kl_nats': 3.0}}
  path.write_text(json.dumps(evaluation))
  groups = {'first': runs.read(path.parent)}
  assert [row.summaries[0].value for row in numbers.rows_of('kl_nats', groups)] == [3.0]
  for elsewhere in ('train/kl_nats', 'raw/kl_nats', 'rwa/kl_nats', 'raw/training_seconds'):
    assert not numbers.rows_of(elsewhere, groups)
  assert not numbers.rows_of('validation/fid_classifier', groups)
  names = 'fid_classifier', 'raw/fid_classifier'
  rows = {name: numbers.rows_of(name, groups) for name in names}
  assert [row.name for (row,) in rows.values()] == [
    'Fréchet distance ↓', 'Raw parameters: Fréchet distance ↓'
  ]  # fmt: skip
  text = table.markdown(result._replace(rows=rows))
  assert '|  | fid_classifier ↓ | raw/fid_classifier ↓ |' in text


@pytest.mark.parametrize('side', [8, 28, 64])
def test_samples_are_found_again_in_their_sheet(side: int) -> None:
  samples, train = (RANDOM.integers(256, size=(10, side, side, 3), dtype=np.uint8) for _ in 'ab')
  found, near = columns(sheet(samples, train), (side, side, 3))
  np.testing.assert_array_equal(found, samples)
  np.testing.assert_array_equal(near, np.tile(train[:1], (10, 1, 1, 1)))


def test_the_picture_shows_each_group_as_it_is(
  study: Callable[[dict[str, bytes]], Result],
) -> None:
  samples = noise(2)
  drawn = picture(study({'first': sheet(noise(2), noise(2)), 'second': sheet(samples, noise(2))}))
  with Image.open(io.BytesIO(drawn or b'')) as file:
    pixels = np.asarray(file.convert('L'))
  strip = images.grid(samples, columns=10)[..., 0]
  height, width = strip.shape
  top, left = GAP + 2 * LINE, 2 * GAP + width
  np.testing.assert_array_equal(pixels[top : top + height, left : left + width], strip)
  assert picture(study({'none': b''})._replace(groups={})) is None


def test_a_hundred_runs_fit_into_a_repository(
  study: Callable[[dict[str, bytes]], Result],
) -> None:
  found = study({f'experiment {i}': sheet(noise(256), noise(256)) for i in range(40)})
  drawn = picture(found)
  assert drawn is not None
  assert len(drawn) < LARGEST
  assert len(page(found, drawn)) < 2_000_000
