"""What a run writes down, and how a resumed run continues it."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxgen import configuration
from jaxgen.training import film, writer

CONFIG = configuration.load(f'{Path(__file__).parent.parent}/experiments/vae.py', None, [])
STEPS = st.integers(0, 50)
VALUES = st.floats(allow_nan=False, allow_infinity=False)


def events(folder: Path) -> EventAccumulator:
  """All that TensorBoard reads in a folder."""
  everything = dict.fromkeys(('scalars', 'images', 'tensors'), 0)
  return EventAccumulator(str(folder), size_guidance=everything).Reload()


def test_numbers_pictures_and_config_reach_tensorboard_and_files(tmp_path: Path) -> None:
  pictures = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8, 1)
  with writer.Writer(tmp_path, CONFIG, 0) as out:
    out.scalars(1, {'loss': 0.1, 'validation/elbo_nats': -3.0})
    out.pictures(1, 'samples', pictures)
    seen = events(tmp_path)  # before it is closed: nothing waits in a queue
  assert [(e.step, e.value) for e in seen.Scalars('loss')] == [(1, np.float32(0.1))]
  assert b'objective.name' in seen.Tensors('config/text_summary')[0].tensor_proto.string_val[0]
  image = seen.Images('samples')[0]
  assert image.encoded_image_string == (tmp_path / 'figures' / 'samples.png').read_bytes()
  with Image.open(tmp_path / 'figures' / 'samples.png') as saved:
    assert (image.width, image.height) == saved.size
  assert json.loads((tmp_path / 'metrics.jsonl').read_text())['validation/elbo_nats'] == -3.0


@given(
  lines=st.lists(st.tuples(STEPS, VALUES), max_size=20), step=STEPS, torn=st.binary(max_size=30)
)
def test_a_resumed_record_holds_the_lines_up_to_its_step(
  lines: list[tuple[int, float]],
  step: int,
  torn: bytes,
  tmp_path_factory: pytest.TempPathFactory,
) -> None:
  path = tmp_path_factory.mktemp('run') / 'metrics.jsonl'
  written = [{'step': s, 'loss': value} for s, value in lines]
  text = ''.join(json.dumps(record) + '\n' for record in written)
  path.write_bytes(text.encode() + b'{"step": 3' + torn)
  expected = [record for record in written if record['step'] <= step]
  assert [r for r in writer.keep_until(path, step) if 'loss' in r] == expected
  assert writer.keep_until(path, step) == [json.loads(s) for s in path.read_text().splitlines()]


@given(content=st.binary(max_size=300) | st.just(b'[' * 100_000) | st.text().map(str.encode))
def test_a_garbled_record_raises_nothing(
  content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
  path = tmp_path_factory.mktemp('run') / 'metrics.jsonl'
  path.write_bytes(content)
  assert all(isinstance(record['step'], int) for record in writer.keep_until(path, 10))


def test_events_after_the_step_resumed_from_are_taken_back(tmp_path: Path) -> None:
  for start in (0, 2, 2, 4):
    with writer.Writer(tmp_path, CONFIG, start) as out:
      for step in range(start + 1, start + 4):
        out.scalars(step, {'loss': float(10 * start + step)})
  points = {e.step: e.value for e in events(tmp_path).Scalars('loss')}
  assert len(events(tmp_path).Scalars('loss')) == len(points) == 7
  assert points == {1: 1, 2: 2, 3: 23, 4: 24, 5: 45, 6: 46, 7: 47}
  records = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  assert {record['step']: record['loss'] for record in records} == points


@pytest.mark.filterwarnings('ignore')
def test_a_torn_event_file_is_read_up_to_the_tear(tmp_path: Path) -> None:
  with writer.Writer(tmp_path, CONFIG, 0) as out:
    for step in (1, 2, 3):
      out.scalars(step, {'loss': 1.0})
    path = next(tmp_path.glob('events*'))
    torn = path.read_bytes()[:-5]
  path.write_bytes(torn)
  assert [e.step for e in events(tmp_path).Scalars('loss')] == [1, 2]


def test_the_last_evaluation_on_record_is_known(tmp_path: Path) -> None:
  with writer.Writer(tmp_path, CONFIG, 0) as out:
    assert out.evaluated == 0
    out.scalars(3, {'validation/elbo_nats': 1.0})
    out.scalars(4, {'train/loss': 1.0})
    out.scalars(6, {'validation/elbo_nats': 1.0})
  for step, evaluated in ((7, 6), (5, 3), (2, 0)):
    with writer.Writer(tmp_path, CONFIG, step) as out:
      assert out.evaluated == evaluated


def test_a_film_is_bounded_and_is_taken_back_with_the_steps(tmp_path: Path) -> None:
  def picture(step: int) -> np.ndarray:
    return np.full((1, 4, 4, 1), step, np.uint8)

  with writer.Writer(tmp_path, CONFIG, 0) as out:
    for step in range(1, 101):
      out.pictures(step, 'samples', picture(step))
  known = film.frames(tmp_path)['samples']
  assert len(known) == film.MOST
  assert (min(known), max(known)) == (1, 100)
  steps = np.array(list(known))
  assert np.all(steps[1:] > steps[:-1])
  assert np.all(steps[1:] <= 2 * steps[:-1])  # no part of training is left out
  with Image.open(known[100]) as saved:
    np.testing.assert_array_equal(np.asarray(saved)[1:-1, 1:-1], picture(100)[0, ..., 0])
  (tmp_path / film.FOLDER / 'samples' / '.7.png.partial').write_bytes(b'torn')
  with writer.Writer(tmp_path, CONFIG, 50):
    again = film.frames(tmp_path)['samples']
  assert list(again) == [step for step in steps if step <= 50]
