"""Data in files of others: .npz, raw idx files, folders with names; and how training sees it."""

import gzip
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgen import datasets, images
from jaxgen.datasets import splits
from jaxgen.devices import parallel
from jaxgen.errors import UserError
from jaxgen.report import page, runs
from tests.examples import dealt
from tests.test_binarize import looker
from tests.test_report import workdir

ROOT = Path(__file__).parent.parent
DRAWN = np.random.default_rng(0).integers(0, 256, (60, 5, 4), np.uint8)
LABELS = np.arange(60) % 3


def npz(path: Path, **arrays: Any) -> splits.Dataset:
  np.savez(path, **arrays)
  return datasets.named('npz', path=str(path))


def test_an_npz_of_images_is_divided(tmp_path: Path) -> None:
  names = np.array(['cat', 'dog', 'owl'])
  found = npz(tmp_path / 'x.npz', images=DRAWN, labels=LABELS.astype(np.int32), class_names=names)
  assert [len(split.images) for split in found] == [42, 6, 12]
  assert found.facts.class_names == ('cat', 'dog', 'owl')
  known = {image.tobytes(): label for image, label in zip(DRAWN, LABELS, strict=True)}
  for split in found:
    assert split.images.shape[1:] == (5, 4, 1)
    for image, label in zip(split.images, split.labels, strict=True):
      assert known.pop(image.tobytes()) == label
  assert not known


def test_an_npz_of_splits_keeps_them_and_no_labels_are_none(tmp_path: Path) -> None:
  colour = np.stack([DRAWN] * 3, axis=-1)
  parts = {'train_images': colour[:40], 'validation_images': colour[40:47]}
  found = npz(tmp_path / 'x.npz', **parts, test_images=colour[47:])
  np.testing.assert_array_equal(found.train.images, colour[:40])
  np.testing.assert_array_equal(found.validation.images, colour[40:47])
  np.testing.assert_array_equal(found.test.images, colour[47:])
  assert found.train.labels is None
  resized = datasets.named('npz', path=str(tmp_path / 'x.npz'), image_size=8, channels=1)
  assert resized.image_shape == (8, 8, 1)


@pytest.mark.parametrize(
  ('arrays', 'words'),
  [
    ({'images': DRAWN / 255}, 'images are float64; save them as uint8'),
    ({'images': DRAWN[0]}, 'not (N, H, W, 1 or 3)'),
    ({'images': DRAWN[:, None]}, 'turn (N, C, H, W) by .transpose(0, 2, 3, 1)'),
    ({'images': DRAWN, 'labels': LABELS[:9]}, 'labels are int64 (9,) for 60 images'),
    ({'images': DRAWN, 'labels': LABELS - 1}, 'a whole number from 0'),
    ({'images': DRAWN, 'labels': LABELS / 2}, 'labels are float64'),
    ({'x': DRAWN}, 'holds x, and should not: it holds `images`'),
    ({'images': DRAWN, 'lables': LABELS}, 'holds lables, and should not'),
    ({'train_images': DRAWN, 'test_images': DRAWN[:, :4]}, 'set --config.data.image_size'),
    ({'test_images': DRAWN}, 'no training split'),
    ({'images': np.array([DRAWN], object)}, 'cannot be read'),
  ],
)
def test_an_npz_that_is_none_is_refused(tmp_path: Path, arrays: dict, words: str) -> None:
  with pytest.raises(UserError) as raised:
    npz(tmp_path / 'x.npz', **arrays)
  assert words in str(raised.value)


def test_an_array_as_fortran_has_it_is_the_same(tmp_path: Path) -> None:
  plain = npz(tmp_path / 'x.npz', images=DRAWN)
  turned = npz(tmp_path / 'y.npz', images=np.asfortranarray(DRAWN))
  for split, other in zip(plain, turned, strict=True):
    np.testing.assert_array_equal(split.images, other.images)
    assert other.images.flags['C_CONTIGUOUS']


def test_labels_of_some_splits_alone_are_left_out_and_that_is_said(
  tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
  parts = {'train_images': DRAWN[:40], 'train_labels': LABELS[:40], 'test_images': DRAWN[40:]}
  found = npz(tmp_path / 'x.npz', **parts)
  assert [split.labels for split in found] == [None] * 3
  assert found.facts.class_counts == ()
  assert 'labels are left out: the test images have none' in caplog.text


def test_a_class_of_held_out_images_alone_counts(tmp_path: Path) -> None:
  parts = {'train_images': DRAWN[:40], 'train_labels': LABELS[:40] % 2}
  found = npz(tmp_path / 'x.npz', **parts, test_images=DRAWN[40:], test_labels=LABELS[40:])
  assert found.facts.classes == 3
  assert found.facts.class_counts[2] == 0


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
  for content in (b'', b'PK\x03\x04', b'text'):
    (tmp_path / 'x.npz').write_bytes(content)
    with pytest.raises(UserError, match='cannot be read'):
      datasets.named('npz', path=str(tmp_path / 'x.npz'))
  with pytest.raises(UserError, match='name one with --config'):
    datasets.named('npz')


def written(path: Path, array: np.ndarray, pack: bool) -> None:
  """An idx file as its format says: two zeros, the type, the axes, their lengths, the bytes."""
  head = bytes([0, 0, 8, array.ndim]) + struct.pack(f'>{array.ndim}I', *array.shape)
  content = head + array.astype(np.uint8).tobytes()
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(gzip.compress(content) if pack else content)


def torchvision(root: Path, ending: str = '') -> Path:
  """A folder as torchvision leaves it."""
  for name, rows in (('train', slice(40)), ('t10k', slice(40, None))):
    for kind, array in (('images-idx3', DRAWN), ('labels-idx1', LABELS)):
      path = root / 'MNIST' / 'raw' / f'{name}-{kind}-ubyte{ending}'
      written(path, array[rows], bool(ending))
  return root


@pytest.mark.parametrize('endings', [[''], ['.gz'], ['', '.gz']])
def test_raw_idx_files_are_read(tmp_path: Path, endings: list[str]) -> None:
  for ending in endings:
    torchvision(tmp_path, ending)
  found = datasets.named('idx', path=str(tmp_path))
  assert [len(split.images) for split in found] == [36, 4, 20]
  np.testing.assert_array_equal(found.test.images[..., 0], DRAWN[40:])
  np.testing.assert_array_equal(found.test.labels, LABELS[40:])
  kept = np.concatenate([found.train.images, found.validation.images])[..., 0].reshape(40, -1)
  expected = DRAWN[:40].reshape(40, -1)
  np.testing.assert_array_equal(kept[np.lexsort(kept.T)], expected[np.lexsort(expected.T)])
  assert datasets.named('idx', path=str(tmp_path), image_size=7).image_shape == (7, 7, 1)


def test_idx_files_that_are_none_are_refused(tmp_path: Path) -> None:
  with pytest.raises(UserError, match='no files named as train-images-idx3-ubyte'):
    datasets.named('idx', path=str(tmp_path))
  train = torchvision(tmp_path) / 'MNIST/raw/train-images-idx3-ubyte'
  whole = train.read_bytes()
  for content in (whole[:-1], b'\x00\x00\x0d\x03' + whole[4:], b'', gzip.compress(whole)[:50]):
    train.write_bytes(content)
    with pytest.raises(UserError, match='train-images-idx3-ubyte is no whole idx file'):
      datasets.named('idx', path=str(tmp_path))
  written(tmp_path / 'FashionMNIST/raw/train-images-idx3-ubyte', DRAWN, False)
  with pytest.raises(UserError, match='both hold train images'):
    datasets.named('idx', path=str(tmp_path))


def test_folders_are_classes_with_names_that_reach_the_report(tmp_path: Path) -> None:
  for i, image in enumerate(DRAWN):
    path = tmp_path / 'pictures' / ('owl', 'cat')[i % 2] / f'{i}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
  facts = datasets.named('folder', path=str(tmp_path / 'pictures')).facts
  assert facts.class_names == ('cat', 'owl')

  run = workdir(tmp_path / 'run')
  record = json.loads((run / 'run.json').read_text()) if (run / 'run.json').exists() else {}
  (run / 'run.json').write_text(json.dumps(record | facts._asdict()))
  fid = {'test': {'0': 1.5}}
  classes = {'histogram': [3, 0], 'data': {'test': [2, 2]}, 'missing': {'test': [1]}, 'fid': fid}
  classes['fid_reasons'] = {'test': {'1': 'too few'}}
  path = run / 'evaluation.json'
  path.write_text(json.dumps({'step': 20, 'ema_scores': {'numbers': [], 'classes': classes}}))
  (read,) = runs.read(run)
  found = page.classes_of(read)
  assert found['missing'] == ['owl']
  assert [row[0] for row in found['fid']] == ['cat']
  assert found['reasons'] == {'owl': 'too few'}
  assert 'cat: 1.000 of 0.500, owl: 0.000 of 0.500' in found['plot'].alternative
  unnamed = page.classes_of(read._replace(class_names=()))
  assert unnamed['missing'] == ['1']


def test_half_of_the_images_are_flipped_and_all_are_moved_evenly() -> None:
  image = np.arange(20, dtype=np.uint8).reshape(5, 4, 1) * 12
  keys = jax.random.split(jax.random.key(0), 4000)
  see = images.reader(flip=True, crop=1)
  seen = np.asarray(images.to_uint8(jax.vmap(see, in_axes=(None, 0))(image, keys)))
  padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode='edge')
  views = [padded[r : r + 5, c : c + 4] for r in range(3) for c in range(3)]
  mirrored = np.pad(image[:, ::-1], ((1, 1), (1, 1), (0, 0)), mode='edge')
  views += [mirrored[r : r + 5, c : c + 4] for r in range(3) for c in range(3)]
  counts = np.array([(seen == view).all(axis=(1, 2, 3)).sum() for view in views])
  assert counts.sum() == 4000
  assert np.abs(counts - 4000 / 18).max() < 4.5 * np.sqrt(4000 / 18)
  for fields in ({}, {'flip': True}, {'crop': 1}):
    some = jax.vmap(images.reader(**fields), in_axes=(None, 0))(image, keys[:200])
    assert (
      len({one.tobytes() for one in np.asarray(some)})
      == {0: 1, 1: 2, 2: 9}[2 * ('crop' in fields) + ('flip' in fields)]
    )


def test_every_look_is_another_on_any_number_of_devices() -> None:
  image = np.random.default_rng(0).integers(0, 2, (4, 4, 1), np.uint8) * 255  # whose code is exact
  found = {}
  for devices in (1, 4):
    step = parallel.train_steps(looker(), 0, 0.9, see=images.reader(flip=True, crop=1))
    state = parallel.initial_state(looker(), 0)
    for number in range(2):
      state, _ = step(state, dealt(np.broadcast_to(image, (1, 8, 4, 4, 1)), devices))
      found[devices, number] = np.asarray(state.memory)
  for number in range(2):
    np.testing.assert_array_equal(found[1, number], found[4, number])
    assert len(np.unique(found[1, number])) > 3
  assert (found[1, 0] != found[1, 1]).any()


def test_a_crop_larger_than_the_images_is_refused() -> None:
  with pytest.raises(UserError, match=r'config.data.crop=8 moves images of shape \(8, 8, 1\)'):
    datasets.named('digits', crop=8)


@pytest.mark.filterwarnings('ignore')  # those of tensorflow-datasets
def test_unprepared_dataset_without_network_is_refused_in_seconds(tmp_path: Path) -> None:
  nowhere = dict.fromkeys(('http_proxy', 'https_proxy', 'HTTPS_PROXY'), 'http://127.0.0.1:9')
  arguments = '--config=experiments/vae.py:mnist', f'--workdir={tmp_path}/run'
  began = time.monotonic()
  result = subprocess.run(
    [sys.executable, '-m', 'jaxgen.main', *arguments],
    cwd=ROOT,
    env=os.environ | nowhere | {'TFDS_DATA_DIR': str(tmp_path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 2
  assert time.monotonic() - began < 100  # tensorflow-datasets alone retries for over 200 s
  assert 'Traceback' not in result.stderr
  for word in ("'mnist' is not prepared", 'TFDS_DATA_DIR', 'tfds.data_source', 'digits'):
    assert word in result.stderr
  assert not (tmp_path / 'run').exists()
