"""A dataset's three splits, and how they are divided."""

from typing import NamedTuple, Protocol

import ml_collections
import numpy as np

from jaxgen.errors import UserError


class Images(Protocol):
  """uint8 (N, H, W, C), read by index: a numpy array, or anything that reads on demand."""

  shape: tuple[int, ...]

  def __len__(self) -> int: ...

  def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


class Split(NamedTuple):
  """Some images of a dataset and, where it has any, their labels as int64 (N,).

  Attributes:
    images: uint8 (N, H, W, C).
    labels: classes from 0.
    class_names: what they are called, by their numbers; () where that is not known.
  """

  images: Images
  labels: np.ndarray | None = None
  class_names: tuple[str, ...] = ()

  def take(self, rows: np.ndarray) -> 'Split':
    """The images of these rows, still unread where images are read on demand."""
    images = self.images
    chosen = images[rows] if isinstance(images, np.ndarray) else Rows(images, rows)
    return Split(chosen, None if self.labels is None else self.labels[rows], self.class_names)


class Rows:
  """Some rows of images that are read on demand."""

  def __init__(self, images: Images, rows: np.ndarray) -> None:
    self.images, self.rows = images, rows
    self.shape = (len(rows), *images.shape[1:])

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    return self.images[self.rows[rows]]


class Facts(NamedTuple):
  """What a model may know of its data before it sees them.

  Attributes:
    image_shape: (H, W, C) of every image.
    training_images: how many there are.
    class_counts: how many of them are of each class; () where the data have no labels.
    class_names: what the classes are called; () where that is not known.
  """

  image_shape: tuple[int, int, int]
  training_images: int
  class_counts: tuple[int, ...] = ()
  class_names: tuple[str, ...] = ()

  @property
  def classes(self) -> int:
    """How many classes there are, for models that need labels.

    Raises:
      ValueError: the data have none.
    """
    if not self.class_counts:
      raise ValueError('it learns from labels, and these data have none: choose labelled data')
    return len(self.class_counts)


class Dataset(NamedTuple):
  """Three disjoint splits of one dataset."""

  train: Split
  validation: Split
  test: Split

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of every image."""
    return tuple(self.train.images.shape[1:])

  @property
  def facts(self) -> Facts:
    """What a model may know of it; a class may be in held-out images alone."""
    labels, counts = self.train.labels, ()
    if labels is not None:
      last = max(split.labels.max() for split in self if split.labels is not None)
      counts = tuple(np.bincount(labels, minlength=last + 1).tolist())
    return Facts(self.image_shape, len(self.train.images), counts, self.train.class_names)


def hold_out(split: Split, *fractions: float) -> tuple[Split, ...]:
  """Splits off fractions in a fixed random order: (the rest, then one split for each fraction).

  Raises:
    UserError: a split would be empty.
  """
  count = len(split.images)
  sizes = [round(fraction * count) for fraction in fractions]
  if min(sizes) < 1 or sum(sizes) >= count:
    raise UserError(
      f'cannot hold out {" and ".join(map(str, fractions))} of {count} images: change '
      '--config.data.validation_fraction and test_fraction, or bring more images'
    )
  order = np.random.default_rng(0).permutation(count)
  bounds = np.cumsum((count - sum(sizes), *sizes))
  return tuple(split.take(np.sort(rows)) for rows in np.split(order, bounds[:-1]))


def arrange(splits: dict[str, Split], config: ml_collections.ConfigDict) -> Dataset:
  """The splits that a dataset came with; those it lacks are held out of its training images."""
  if 'train' not in splits:
    raise UserError(f'{config.name!r} has no training split')
  train, test = splits['train'], splits.get('test') or splits.get('validation')
  if test is None:
    return Dataset(*hold_out(train, config.validation_fraction, config.test_fraction))
  if 'validation' in splits and 'test' in splits:
    return Dataset(train, splits['validation'], test)
  return Dataset(*hold_out(train, config.validation_fraction), test)


def subset(count: int, size: int) -> np.ndarray:
  """Which of `count` images stand for all where fewer are wanted: sorted, the same every time.

  The first ones would not do: files are sorted by class. A larger subset holds the smaller ones.
  """
  return np.sort(np.random.default_rng(0).permutation(count)[:size])
