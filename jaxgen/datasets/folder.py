"""A folder of PNG and JPEG files."""

from pathlib import Path

import ml_collections
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from jaxgen import images
from jaxgen.datasets.reading import OnDemand, in_memory_if_it_fits
from jaxgen.datasets.splits import Dataset, Split, hold_out
from jaxgen.errors import UserError

SUFFIXES = ('.png', '.jpg', '.jpeg')


def folder(config: ml_collections.ConfigDict) -> Dataset:
  """A folder of PNG or JPEG files; if all are in subfolders, those are the classes.

  Links to files are read wherever they point; linked folders are not entered. Nothing is written.

  Raises:
    UserError: no such folder, no images in it, an unreadable file, files of several sizes.
  """
  root = Path(config.path).expanduser()
  if not config.path or not root.is_dir():
    raise UserError(
      f'no folder {config.path!r}: name one with --config.data.path=FOLDER that holds PNG or JPEG '
      'files, or use --config.data.name=digits'
    )
  files = sorted(f for f in root.rglob('*') if f.suffix.lower() in SUFFIXES and f.is_file())
  if not files:
    raise UserError(f'no {", ".join(SUFFIXES)} files in {root}')
  expected = read_file(files[0], config).shape

  def read(row: int) -> np.ndarray:
    image = read_file(files[row], config)
    if image.shape != expected:
      raise UserError(
        f'{files[row]} is {image.shape} where {files[0]} is {expected} (height, width, '
        'channels): set --config.data.image_size and --config.data.channels to make all alike'
      )
    return image

  split = Split(in_memory_if_it_fits(OnDemand(read, len(files)), config.memory_limit))
  inside = [f.relative_to(root).parts for f in files]
  if all(len(parts) > 1 for parts in inside):
    names, labels = np.unique([parts[0] for parts in inside], return_inverse=True)
    split = split._replace(labels=labels.astype(np.int64), class_names=tuple(names.tolist()))
  return Dataset(*hold_out(split, config.validation_fraction, config.test_fraction))


def read_file(path: Path, config: ml_collections.ConfigDict) -> np.ndarray:
  """One image file, upright, as configured: uint8 (H, W, C).

  Raises:
    UserError: it cannot be read.
  """
  try:
    with PillowImage.open(path, formats=('png', 'jpeg')) as picture:
      upright = ImageOps.exif_transpose(picture)
      return images.fit(upright, config.image_size, config.channels)
  except Exception as error:  # Pillow's decoders raise whatever they stumble over
    raise UserError(f'cannot read image {path}: {error or type(error).__name__}') from error
