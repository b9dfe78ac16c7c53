"""python -m jaxgen.evaluation --samples=their.npz --data=mnist: scores of samples from anywhere."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from jaxgen import commands, datasets
from jaxgen.errors import UserError
from jaxgen.evaluation.provenance import circumstances
from jaxgen.evaluation.references import about, in_order
from jaxgen.evaluation.scores import Scorer, joined
from jaxgen.evaluation.summary import of_samples
from jaxgen.features import require_images
from jaxgen.images import write_whole
from jaxgen.progress import follow


def parser() -> argparse.ArgumentParser:
  """The command line."""
  result = commands.parser(
    'jaxgen.evaluation',
    'Score samples that jaxgen did not make, under the protocol of all jaxgen runs.',
    (
      '--samples=theirs.npz --data=mnist --output=theirs.json',
      '--samples=pictures --data=folder --data_path=originals --image_size=64',
    ),
  )
  result.add_argument(
    '--samples', required=True, type=Path, help='.npz of one uint8 (N, H, W[, C]), or PNG folder'
  )
  add_data(result)
  result.add_argument('--seed', type=int, default=0, help='that the samples were made with')
  result.add_argument('--classifier_weights', default='', help='file of jaxgen.classifiers')
  result.add_argument('--inception_weights', default='', help='file, for its features too')
  result.add_argument('--s4_legacy_weights', default='', help='file, for that distance too')
  result.add_argument('--output', type=Path, help='JSON file of all numbers, with their protocols')
  return result


def add_data(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments that `data_of` reads."""
  parser.add_argument('--data', required=True, help='digits, mnist, folder, npz, idx, ...')
  parser.add_argument(
    '--data_path', default='', help='of the folder or file, or of prepared datasets'
  )
  parser.add_argument(
    '--image_size', type=int, default=0, help='side to resize the data to; 0 as it is'
  )
  parser.add_argument(
    '--channels', type=int, choices=(0, 1, 3), default=0, help='1 grey, 3 colour; 0 as it is'
  )
  parser.add_argument('--binarize', default='none', choices=('none', 'static'), help='of the data')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the process's exit code."""
  options = parser().parse_args(arguments)
  try:
    results = evaluate(options)
    print(of_samples(results))
    if options.output:
      write_whole(options.output, json.dumps(results, indent=2).encode())
      print(f'all numbers, with their protocols: {options.output}')
    return 0
  except (UserError, ValueError, OSError, MemoryError) as error:
    print(f'jaxgen: {error}', file=sys.stderr)
    return 2


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
  """Scores of the named samples against the named data.

  Raises:
    UserError: the samples or the data cannot be read, or do not fit each other.
  """
  samples, config = read(options.samples), config_of(options)
  dataset = datasets.load(config.data)
  require_like(samples, dataset.image_shape, options.samples)
  scorer = Scorer(dataset, config, ('test', 'train'))
  found = scorer.score(follow(in_order(samples), len(samples), 'given'), options.seed)
  about_samples = {'samples': len(samples), 'features': about(scorer.kinds)}
  about_samples['made'] = circumstances()
  return about_samples | {'no_classifier': scorer.reason, 'scores': joined([found])}


def data_of(options: argparse.Namespace) -> ml_collections.ConfigDict:
  """The section `data` of a config that the arguments describe."""
  return datasets.section(
    options.data,
    path=options.data_path,
    image_size=options.image_size,
    channels=options.channels,
    binarize=options.binarize,
  )


def config_of(options: argparse.Namespace) -> ml_collections.ConfigDict:
  """What experiments/common.py says of data and evaluation, as far as scores need it."""
  config = ml_collections.ConfigDict({'data': data_of(options).to_dict(), 'evaluation': {}})
  config.evaluation.classifier_weights = options.classifier_weights
  config.evaluation.inception_weights = options.inception_weights
  config.evaluation.s4_legacy_weights = options.s4_legacy_weights
  return config


def read(path: Path) -> np.ndarray:
  """The samples in a file or folder: uint8 (N, H, W, C).

  Raises:
    UserError: nothing there, unreadable, or no uint8 images.
  """
  if path.is_dir():
    samples = read_folder(path)
  elif path.is_file():
    samples = read_npz(path)
  else:
    raise UserError(f'--samples={path}: there is no such file or folder')
  if samples.ndim == 3:
    samples = samples[..., None]
  try:
    return require_images(samples)
  except ValueError as error:
    raise UserError(f'--samples={path}: {error}') from error


def read_npz(path: Path) -> np.ndarray:
  """The array `samples` of an .npz file, or its only one, or that of an .npy file; no pickles."""
  try:
    with path.open('rb') as file:
      loaded = np.load(file, allow_pickle=False)
      if isinstance(loaded, np.ndarray):
        return loaded
      names = loaded.files
      if 'samples' not in names and len(names) != 1:
        raise UserError(
          f'--samples={path} holds {", ".join(names) or "nothing"}; one array named samples is '
          'needed'
        )
      return loaded['samples' if 'samples' in names else names[0]]
  except UserError:
    raise
  except Exception as error:  # numpy, zipfile and zlib name a dozen kinds of damage
    raise UserError(
      f'--samples={path} cannot be read: {error}. Write uint8 (N, H, W, C) with numpy.savez'
    ) from error


def read_folder(folder: Path) -> np.ndarray:
  """The PNG files of a folder, as they are."""
  files = sorted(file for file in folder.iterdir() if file.suffix.lower() == '.png')
  if not files:
    raise UserError(f'--samples={folder} holds no .png files')
  as_it_is = ml_collections.ConfigDict({'image_size': 0, 'channels': 0})
  return np.stack(list(alike(files, as_it_is)))


def alike(files: list[Path], config: ml_collections.ConfigDict) -> Iterator[np.ndarray]:
  """Each file's image. Raises UserError for one that differs in shape from the first."""
  from jaxgen.datasets.folder import read_file

  shape = None
  for file in files:
    image = read_file(file, config)
    shape = shape or image.shape
    if image.shape != shape:
      raise UserError(f'{file} is {image.shape} where {files[0]} is {shape}; make all alike')
    yield image


def require_like(samples: np.ndarray, shape: tuple[int, int, int], path: Path) -> None:
  """Raises UserError if samples are not of the data's shape, or are all the same image."""
  if samples.shape[1:] != shape:
    raise UserError(
      f'--samples={path} holds images of shape {samples.shape[1:]}, the data have {shape} (height, '
      'width, channels): resize the samples, or the data with --image_size and --channels'
    )
  if np.array_equal(samples, np.broadcast_to(samples[:1], samples.shape)):
    raise UserError(f'--samples={path}: all {len(samples)} images are the same; nothing to compare')
