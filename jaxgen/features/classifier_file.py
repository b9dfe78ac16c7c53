"""Trained classifiers as files: those that come with jaxgen, and those that a user names."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen.features import fingerprint

_FOLDER = Path(__file__).parent / 'weights'
_ABOUT = ('version', 'image_shape', 'training', 'accuracy', 'sha256')  # everything else is weights


class WrongFileError(ValueError):
  """A file that is damaged, or holds no classifier for these data."""


class Trained(NamedTuple):
  """A trained classifier, as its file holds it.

  Attributes:
    version: of the code that its weights belong to.
    image_shape: (H, W, C) of the images that it takes.
    training: hash of the images and labels that it was trained on, whatever their order.
    accuracy: on test images that it was not trained on, within [0, 1].
    weights: float32 arrays by the names of the network's parameters; float16 holds them exactly.
  """

  version: int
  image_shape: tuple[int, int, int]
  training: str
  accuracy: float
  weights: dict[str, np.ndarray]

  @property
  def fingerprint(self) -> str:
    """Hash of all that decides the features."""
    return fingerprint(version=self.version, image_shape=self.image_shape, **self.weights)


class Shipped(NamedTuple):
  """A file that comes with jaxgen: its name, and the fingerprint that its weights must have."""

  name: str
  fingerprint: str


# By the hash of what they were trained on. `python -m jaxgen.classifiers` makes and prints them.
SHIPPED = {
  '1a7e8312122bee979c57ca058fa8868e9979f36ddc1bfbc0605c1111492c44df': Shipped(
    'digits.npz', '09d28d1b095dee3d348240f6af6c24806d2d595210f485346944761ac24d6d1b'
  ),
  '224f002d08f40edc15dcafb6eab79f8ab5cbe53fee6c41386f446e22a3d5c1e0': Shipped(
    'mnist.npz', '8442c3ab0bdc6682a85017027408b0c2eae27c9695982aa50fa9fec58b847041'
  ),
}


def shipped(training: str) -> Trained | None:
  """The classifier that comes with jaxgen for these training images, if there is one.

  Raises:
    WrongFileError: its file is missing or damaged, or has been exchanged.
  """
  if training not in SHIPPED:
    return None
  name, expected = SHIPPED[training]
  found = load(_FOLDER / name)
  if (found.fingerprint, found.training) != (expected, training):
    raise WrongFileError(
      f'{_FOLDER / name} is not the classifier that came with jaxgen: its fingerprint is '
      f'{found.fingerprint[:16]}, not {expected[:16]}; take the file from the repository again'
    )
  return found


def load(path: Path) -> Trained:
  """What `save` wrote. Nothing in the file is executed.

  Raises:
    WrongFileError: there is no such file, it cannot be read, or its content is not what was saved.
  """
  if not path.is_file():
    raise WrongFileError(
      f'There is no file {path}; python -m jaxgen.classifiers makes one for a dataset'
    )
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as kept:
      arrays = dict(kept)
    digest = str(arrays.pop('sha256'))
    whole = digest == fingerprint(**arrays)
    version, shape, training, accuracy = (arrays.pop(name) for name in _ABOUT[:-1])
    weights = {name: array.astype(np.float32) for name, array in arrays.items()}
    found = Trained(
      int(version), tuple(map(int, shape)), str(training), float(accuracy), weights
    )  # fmt: skip
  except Exception as error:  # whatever a damaged file makes the parsers raise
    raise WrongFileError(
      f'{path} is damaged, or no classifier made by python -m jaxgen.classifiers: {error!r}'
    ) from error
  if not whole:
    raise WrongFileError(
      f'{path} is damaged: its content has another SHA-256 than when it was made'
    )
  return found


def save(path: Path, trained: Trained) -> None:
  """Writes beside `path` and renames, so that nobody reads half a file. Raises OSError."""
  arrays = {name: array.astype(np.float16) for name, array in trained.weights.items()}
  arrays |= {name: np.asarray(getattr(trained, name)) for name in _ABOUT[:-1]}
  unfinished = path.with_name(f'.{path.name}.{os.getpid()}.partial')
  path.parent.mkdir(parents=True, exist_ok=True)
  with unfinished.open('wb') as file:
    np.savez_compressed(file, sha256=np.asarray(fingerprint(**arrays)), **arrays)
  os.replace(unfinished, path)
