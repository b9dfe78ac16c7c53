"""The raw files of MNIST and its relatives, as torchvision keeps them."""

import gzip
import zlib
from pathlib import Path

import ml_collections
import numpy as np

from jaxgen.datasets.reading import fitted
from jaxgen.datasets.splits import Dataset, Split, arrange
from jaxgen.errors import UserError

ROLES = {'train': 'train', 't10k': 'test', 'test': 'test'}  # what a file's name holds -> its split
BYTES = 8  # the code of unsigned bytes


def idx(config: ml_collections.ConfigDict) -> Dataset:
  """The files train-images-idx3-ubyte, train-labels-idx1-ubyte and t10k-... below a folder.

  Packed by gzip (.gz) or not; where both are there, the unpacked ones are read.

  Raises:
    UserError: no such folder or files, those of several datasets, or a file that cannot be read.
  """
  root = Path(config.path).expanduser()
  if not config.path or not root.is_dir():
    raise UserError(
      f'no folder {config.path!r}: name one with --config.data.path=FOLDER that holds '
      'train-images-idx3-ubyte, as the `root` of a torchvision dataset does'
    )
  found: dict[str, Path] = {}
  for file in images_below(root):
    role = next((role for word, role in ROLES.items() if word in file.name), 'train')
    if role in found:
      raise UserError(
        f'{found[role]} and {file} both hold {role} images: name the folder of one dataset with '
        '--config.data.path'
      )
    found[role] = file
  if not found:
    raise UserError(f'no files named as train-images-idx3-ubyte, or with .gz, in {root}')
  return arrange({role: read_split(file, config) for role, file in found.items()}, config)


def images_below(root: Path) -> list[Path]:
  """The files of images, each once, the unpacked one of two."""
  files: dict[str, Path] = {}
  for file in sorted(root.rglob('*images*idx3-ubyte*')):  # which puts x before x.gz
    files.setdefault(str(file).removesuffix('.gz'), file)
  return list(files.values())


def read_split(file: Path, config: ml_collections.ConfigDict) -> Split:
  """Images with the labels that lie beside them, if any do."""
  images = fitted(read(file, 3)[..., None], config)
  name = file.name.removesuffix('.gz').replace('images', 'labels').replace('idx3', 'idx1')
  beside = [path for path in (file.with_name(name), file.with_name(f'{name}.gz')) if path.exists()]
  if not beside:
    return Split(images)
  labels = read(beside[0], 1).astype(np.int64)
  if len(labels) != len(images):
    raise UserError(f'{beside[0]} holds {len(labels)} labels of {len(images)} images')
  return Split(images, labels)


def read(file: Path, axes: int) -> np.ndarray:
  """An array of bytes with so many axes.

  Raises:
    UserError: the file holds something else, or cannot be read.
  """
  try:
    content = file.read_bytes()
    if content[:2] == b'\x1f\x8b':
      content = gzip.decompress(content)
    if tuple(content[:4]) != (0, 0, BYTES, axes):
      raise ValueError(f'it begins with {content[:4].hex(" ")}, not with 00 00 08 0{axes}')
    shape = np.frombuffer(content[4 : 4 * (axes + 1)], '>u4')
    return np.frombuffer(content[4 * (axes + 1) :], np.uint8).reshape(shape)
  except (OSError, EOFError, ValueError, zlib.error) as error:
    raise UserError(f'{file} is no whole idx file: {error}; download it again') from error
