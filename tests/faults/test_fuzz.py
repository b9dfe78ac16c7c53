"""Garbled files: every reader gives what it could read or a UserError, and nothing else."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgen import checks, configuration, datasets
from jaxgen.datasets import folder
from jaxgen.errors import UserError
from jaxgen.training import checkpoint, workdir, writer
from tests.faults.processes import ROOT

CONFIG = configuration.load(f'{ROOT}/experiments/vae.py', None, [])
STATE = {'w': np.arange(12, dtype=np.float32)}


def read_config(path: Path) -> None:
  checks.check_division(configuration.load(None, path.parent, ['--config.seed=1']), 1)


READERS: dict[str, Callable[[Path], object]] = {
  'config.json': read_config,
  'run.json': lambda path: workdir.facts_of(path.parent),
  'metrics.jsonl': lambda path: writer.keep_until(path, 10**9),
  'data.npz': lambda path: datasets.named('npz', path=str(path)),
  'raw/train-images-idx3-ubyte.gz': lambda path: datasets.named('idx', path=str(path.parent)),
  'picture.png': lambda path: folder.read_file(path, CONFIG.data),
  'picture.jpg': lambda path: folder.read_file(path, CONFIG.data),
  'checkpoints/7/SHA256SUMS': lambda path: checkpoint.restore(path.parents[1], STATE),
  'checkpoints/7/arrays.json': lambda path: checkpoint.restore(path.parents[1], STATE),
  'checkpoints/7/_METADATA': lambda path: checkpoint.restore(path.parents[1], STATE),
}


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A folder with one good file of each kind."""
  folder = tmp_path_factory.mktemp('whole')
  configuration.save(CONFIG, folder)
  (folder / 'run.json').write_text('{"starts": [], "data": {}, "image_shape": [8, 8, 1]}')
  lines = (f'{{"step": {step}, "train/loss": {step / 7}}}\n' for step in range(20))
  (folder / 'metrics.jsonl').write_text(''.join(lines))
  pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
  np.savez_compressed(folder / 'data.npz', images=pixels, labels=np.arange(16) % 3)
  (folder / 'raw').mkdir()
  head = bytes([0, 0, 8, 3]) + np.array(pixels.shape, '>u4').tobytes()
  (folder / 'raw' / 'train-images-idx3-ubyte.gz').write_bytes(
    gzip.compress(head + pixels.tobytes())
  )
  for suffix in ('png', 'jpg'):
    Image.fromarray(pixels).save(folder / f'picture.{suffix}')
  with checkpoint.Checkpoints(folder / 'checkpoints', keep=1) as checkpoints:
    checkpoints.save(7, STATE)
  return folder


def garble(content: bytes, chance: random.Random) -> bytes:
  """A file after one accident: cut, flipped, overwritten, repeated or stuffed."""
  place, length = chance.randrange(len(content)), chance.randrange(1, 40)
  noise = chance.randbytes(length)
  return chance.choice(
    (
      content[:place],
      content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :],
      content[:place] + noise + content[place + length :],
      content[:place] + noise + content[place:],
      content[:place] + content[place:] * 2,
      content[:place] + content[place + length :],
      content[:place] + chance.choice((b'[', b'{"a":', b'-', b'\0', b'9')) * 3000,
    )
  )


@pytest.mark.parametrize('tries', [40, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', READERS)
@pytest.mark.filterwarnings('ignore')  # Pillow warns of what it reads nevertheless
def test_a_garbled_file_is_read_or_refused(
  name: str, tries: int, whole: Path, figure: Callable[[str], None]
) -> None:
  path, chance, refused = whole / name, random.Random(0), 0  # noqa: S311
  content = path.read_bytes()
  try:
    for _ in range(tries):
      path.write_bytes(garble(content, chance))
      try:
        READERS[name](path)
      except UserError:
        refused += 1
  finally:
    path.write_bytes(content)
  READERS[name](path)
  figure(f'{tries} garbled files, {refused} refused, {tries - refused} read, nothing else raised')
