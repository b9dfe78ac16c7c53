"""Where images come from, and in what order they go to training."""

import os
from collections.abc import Callable
from pathlib import Path

import ml_collections
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from jaxgen import configuration, datasets
from jaxgen.datasets import folder, order, splits
from jaxgen.errors import UserError

EXPERIMENTS = Path(__file__).parent.parent / 'experiments'
COUNTS = st.integers(1, 200)
SEEDS = st.integers(0, 2**32 - 1)


def section(name: str, **fields: object) -> ml_collections.ConfigDict:
  """A config's `data` section."""
  overrides = [f'--config.data.{field}={value}' for field, value in fields.items()]
  return configuration.load(f'{EXPERIMENTS}/vae.py:{name}', None, overrides).data


def everything(dataset: splits.Dataset) -> np.ndarray:
  """All images of all splits, as rows in some order that only depends on the images."""
  splits = [split.images[np.arange(len(split.images))] for split in dataset]
  rows = np.concatenate(splits).reshape(sum(map(len, splits)), -1)
  return rows[np.lexsort(rows.T)]


@given(count=COUNTS, batch_size=COUNTS, seed=SEEDS, step=st.integers(0, 10**12))
def test_a_batch_is_a_pure_function_of_seed_and_step(
  count: int, batch_size: int, seed: int, step: int
) -> None:
  first = order.batch_rows(count, batch_size, seed, step)
  order.epoch_order.cache_clear()
  order.batch_rows(count, batch_size, seed, step + 7)
  np.testing.assert_array_equal(order.batch_rows(count, batch_size, seed, step), first)
  assert len(first) == batch_size
  assert ((first >= 0) & (first < count)).all()


@given(count=COUNTS, batch_size=COUNTS, seed=SEEDS, epochs=st.integers(1, 4))
def test_every_image_is_seen_once_an_epoch(
  count: int, batch_size: int, seed: int, epochs: int
) -> None:
  steps = -(-count * epochs // batch_size)
  rows = np.concatenate([order.batch_rows(count, batch_size, seed, s) for s in range(steps)])
  for epoch in np.split(rows[: count * epochs], epochs):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(count))


def test_epochs_and_seeds_differ_in_their_order() -> None:
  orders = [tuple(order.epoch_order(100, seed, epoch)) for seed in range(5) for epoch in range(5)]
  assert len(set(orders)) == 25


@given(count=st.integers(3, 300), validation=st.floats(0.01, 0.6), test=st.floats(0.01, 0.6))
def test_splits_are_disjoint_and_complete(count: int, validation: float, test: float) -> None:
  images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
  split = splits.Split(images, np.arange(count))
  try:
    parts = splits.hold_out(split, validation, test)
  except UserError as error:
    assert 'cannot hold out' in str(error)  # noqa: PT017
    return
  labels = np.concatenate([part.labels for part in parts])
  np.testing.assert_array_equal(np.sort(labels), np.arange(count))
  for part in parts:
    np.testing.assert_array_equal(part.images.ravel(), part.labels.astype(np.uint8))
    assert len(part.images) > 0
    assert (np.diff(part.labels) > 0).all()  # in their order, so that files are read in theirs


def test_prefetch_keeps_the_order_and_reads_one_step_ahead() -> None:
  read: list[int] = []

  def remember(step: int) -> np.ndarray:
    read.append(step)
    return np.full(1, step)

  seen = []
  for step, batch in order.prefetch(remember, range(3, 30, 3)):
    assert batch == step
    assert len(read) <= len(seen) + 2
    seen.append(step)
  assert seen == read == list(range(3, 30, 3))


def test_prefetch_hands_on_an_error_in_its_turn() -> None:
  def fail(step: int) -> np.ndarray:
    if step == 2:
      raise UserError('no such image')
    return np.zeros(1)

  batches = order.prefetch(fail, range(5))
  assert [next(batches)[0] for _ in range(2)] == [0, 1]
  with pytest.raises(UserError, match='no such image'):
    next(batches)


def test_digits_are_those_of_scikit_learn() -> None:
  dataset = datasets.load(section('digits'))
  bunch = load_digits()
  scaled = np.round(bunch.images * 255 / 16).astype(np.uint8).reshape(-1, 64)
  np.testing.assert_array_equal(everything(dataset), scaled[np.lexsort(scaled.T)])
  labelled = {(row.tobytes(), label) for row, label in zip(scaled, bunch.target, strict=True)}
  for split in dataset:
    assert split.images.dtype == np.uint8
    for image, label in zip(split.images, split.labels, strict=True):
      assert (image.tobytes(), label) in labelled
  assert [len(split.images) for split in dataset] == [1258, 180, 359]


def test_digits_in_another_size() -> None:
  assert datasets.load(section('digits', image_size=28, channels=3)).image_shape == (28, 28, 3)
  assert datasets.load(section('digits', channels=3)).image_shape == (8, 8, 3)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
  """Writes random pictures to the folder tmp_path/pictures."""
  generator = np.random.default_rng(0)

  def write(name: str, *shape: int, **options: object) -> Path:
    path = tmp_path / 'pictures' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = generator.integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path

  return write


def load_folder(root: Path, **fields: object) -> splits.Dataset:
  fractions = {'validation_fraction': 0.25, 'test_fraction': 0.25}
  return datasets.load(section('folder', path=root, **fractions, **fields))


@pytest.mark.parametrize(('shape', 'channels'), [((9, 7), 1), ((9, 7, 3), 3), ((9, 7, 4), 3)])
def test_a_folder_of_png_files_is_read_as_it_is(
  draw: Callable[..., Path], shape: tuple[int, ...], channels: int
) -> None:
  paths = [draw(f'{i}.png', *shape) for i in range(8)]
  dataset = load_folder(paths[0].parent)
  assert dataset.image_shape == (9, 7, channels)
  pixels = [np.asarray(Image.open(p)).reshape(9, 7, -1)[..., :channels] for p in paths]
  rows = np.stack(pixels).reshape(8, -1)
  np.testing.assert_array_equal(everything(dataset), rows[np.lexsort(rows.T)])
  assert dataset.train.labels is None


def test_jpeg_files_of_many_sizes_are_made_alike(draw: Callable[..., Path]) -> None:
  for i, suffix in enumerate(('jpg', 'JPEG', 'jpeg', 'JPG', 'png', 'PNG')):
    root = draw(f'{i}.{suffix}', 20 + i, 30 - i, 3).parent
  assert load_folder(root, image_size=16).image_shape == (16, 16, 3)
  assert load_folder(root, image_size=16, channels=1).image_shape == (16, 16, 1)


def test_subfolders_are_classes(draw: Callable[..., Path]) -> None:
  for i in range(12):
    root = draw(f'{("cat", "dog", "owl")[i % 3]}/deep/{i}.png', 4, 4).parents[2]
  dataset = load_folder(root)
  counts = np.bincount(np.concatenate([split.labels for split in dataset]))
  assert counts.tolist() == [4, 4, 4]
  draw('stray.png', 4, 4)
  assert load_folder(root).train.labels is None


def test_a_picture_is_turned_upright_and_16_bits_are_scaled(tmp_path: Path) -> None:
  turned = Image.new('L', (6, 4))
  exif = turned.getexif()
  exif[0x0112] = 6  # rotate by a quarter
  turned.save(tmp_path / 'turned.jpg', exif=exif)
  assert folder.read_file(tmp_path / 'turned.jpg', section('folder')).shape == (6, 4, 1)
  deep = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
  Image.fromarray(deep).save(tmp_path / 'deep.png')
  found = folder.read_file(tmp_path / 'deep.png', section('folder'))
  np.testing.assert_array_equal(found.ravel(), np.arange(256))


def test_linked_files_are_read_and_linked_folders_are_not_entered(
  draw: Callable[..., Path], tmp_path: Path
) -> None:
  elsewhere = draw('../elsewhere/outside.png', 4, 4)
  for i in range(4):
    root = draw(f'{i}.png', 4, 4).parent
  (root / 'loop').symlink_to(root)
  (root / 'away').symlink_to(elsewhere.parent)
  (root / 'broken.png').symlink_to(tmp_path / 'nowhere.png')
  assert len(everything(load_folder(root))) == 4
  (root / 'link.png').symlink_to(elsewhere)
  assert len(everything(load_folder(root))) == 5


def test_images_on_demand_equal_images_in_memory(draw: Callable[..., Path]) -> None:
  for i in range(30):
    root = draw(f'{i % 2}/{i}.png', 5, 5, 3).parents[1]
  memory, demand = load_folder(root), load_folder(root, memory_limit=0)
  for kept, lazy in zip(memory, demand, strict=True):
    assert isinstance(kept.images, np.ndarray)
    assert not isinstance(lazy.images, np.ndarray)
    rows = order.batch_rows(len(kept.images), 7, 0, 3)
    np.testing.assert_array_equal(kept.images[rows], lazy.images[rows])
    np.testing.assert_array_equal(kept.labels, lazy.labels)


@pytest.mark.parametrize('spoil', ['empty', 'text', 'cut', 'flipped'])
def test_a_corrupt_image_is_named(draw: Callable[..., Path], spoil: str) -> None:
  for i in range(9):
    path = draw(f'{i}.png', 16, 16)
  content = path.read_bytes()
  spoiled = {
    'empty': b'',
    'text': b'this is no image',
    'cut': content[: len(content) // 2],
    'flipped': content[:60] + bytes(255 - b for b in content[60:90]) + content[90:],
  }
  path.write_bytes(spoiled[spoil])
  with pytest.raises(UserError) as raised:
    load_folder(path.parent)
  assert str(path) in str(raised.value)


def test_an_image_that_vanishes_while_training_is_named(draw: Callable[..., Path]) -> None:
  paths = [draw(f'{i}.png', 4, 4) for i in range(8)]
  dataset = load_folder(paths[0].parent, memory_limit=0)
  for path in paths:
    path.unlink()
  with pytest.raises(UserError, match=r'cannot read image .*\.png'):
    dataset.train.images[np.arange(2)]


@given(content=st.binary(max_size=400), place=st.integers(0, 200), png=st.booleans())
def test_garbled_images_only_raise_user_errors(
  content: bytes, place: int, png: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
  path = tmp_path_factory.mktemp('images') / ('x.png' if png else 'x.jpg')
  Image.new('RGB', (16, 16), 'red').save(path)
  whole = path.read_bytes()
  path.write_bytes(whole[:place] + content + whole[place + len(content) :])
  try:
    assert folder.read_file(path, section('folder')).dtype == np.uint8
  except UserError as error:
    assert str(path) in str(error)  # noqa: PT017


TFDS = Path(os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')).expanduser()
needs_mnist = pytest.mark.skipif(
  not (TFDS / 'mnist').is_dir(), reason='mnist is not prepared in TFDS_DATA_DIR'
)


@needs_mnist
@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # TensorFlow's
def test_mnist_in_memory_and_on_demand() -> None:
  dataset = datasets.load(section('mnist'))
  assert dataset.image_shape == (28, 28, 1)
  assert [len(split.images) for split in dataset] == [54_000, 6_000, 10_000]
  counts = np.bincount(np.concatenate([split.labels for split in dataset]))
  assert counts.tolist() == [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
  try:
    demand = datasets.load(section('mnist', memory_limit=0))
  except UserError as error:
    assert 'prepared as tfrecord' in str(error)  # noqa: PT017
    pytest.skip('mnist is prepared as tfrecord, which is read whole')
  rows = np.arange(0, 6000, 97)
  for kept, lazy in zip(dataset, demand, strict=True):
    np.testing.assert_array_equal(kept.images[rows], lazy.images[rows])
    np.testing.assert_array_equal(kept.labels, lazy.labels)
    assert kept.class_names == lazy.class_names
