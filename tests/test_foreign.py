"""Samples from elsewhere are scored as our own, and bad ones refused with the way out."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxgen import datasets
from jaxgen.errors import UserError
from jaxgen.evaluation import foreign, scores
from jaxgen.features import pixels

ARGUMENTS = ['--samples=samples.npz', '--data=digits']


@pytest.fixture
def run(
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
  tmp_path: Path,
) -> Callable[[Path], tuple[int, str, str]]:
  """The command line on digits, with pixels for features."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(scores, 'kinds', lambda *_: ([pixels.build((8, 8, 1))], ''))

  def command(samples: Path) -> tuple[int, str, str]:
    output = f'--output={tmp_path / samples.stem}.json'
    code = foreign.main([f'--samples={samples}', '--data=digits', output])
    return code, *capsys.readouterr()

  return command


def test_foreign_samples_are_scored(run: Any, tmp_path: Path) -> None:
  digits = datasets.load(foreign.config_of(foreign.parser().parse_args(ARGUMENTS)).data)
  np.savez(tmp_path / 'theirs.npz', digits.test.images[:100, ..., 0])
  np.save(tmp_path / 'array.npy', digits.test.images[:100])
  (tmp_path / 'folder').mkdir()
  for i, image in enumerate(digits.test.images[:100]):
    Image.fromarray(image[..., 0]).save(tmp_path / 'folder' / f'{i:03d}.png')
  outputs = [run(tmp_path / name) for name in ('theirs.npz', 'folder', 'array.npy')]
  assert [code for code, _, _ in outputs] == [0, 0, 0]
  found, of_the_folder, of_the_array = (
    json.loads((tmp_path / f'{name}.json').read_text()) for name in ('theirs', 'folder', 'array')
  )
  for one in (found, of_the_folder, of_the_array):
    assert one.pop('made').keys() >= {'date', 'command', 'git', 'packages'}
  assert found == of_the_folder == of_the_array
  fid = found['scores']['numbers'][0]['protocol']
  assert (fid['metric'], fid['samples'], fid['sampler']) == ('fid_pixels', 100, '')
  assert found['features'][0]['name'] == 'pixels'
  head, distance, *_, said, written = outputs[0][1].splitlines()
  assert head.split() == ['samples', 'real', 'images']
  assert distance.split()[:2] == ['fid_pixels', f'{found["scores"]["numbers"][0]["value"]:.4g}']
  assert said == '100 samples against the test split'
  assert written == f'all numbers, with their protocols: {tmp_path / "theirs.json"}'


IMAGES = np.arange(64 * 40, dtype=np.uint8).reshape(40, 8, 8, 1)


@pytest.mark.parametrize(
  ('array', 'words'),
  [
    (IMAGES[:, :5], ['(5, 8, 1)', '(8, 8, 1)', 'resize']),
    (IMAGES.astype(np.float32), ['float32 from 0.0 to 255.0', 'uint8']),
    (np.full((40, 8, 8, 1), np.nan), ['float64', 'uint8']),
    (np.zeros((40, 8, 8, 1), np.uint8), ['all 40 images are the same']),
    (np.zeros((0, 8, 8, 1), np.uint8), ['(0, 8, 8, 1)']),
    (IMAGES[0, 0], ['(8, 1)', '(N, H, W, C)']),
    (np.array([{'code': 'run me'}], dtype=object), ['cannot be read', 'pickle']),
  ],
  ids=['shape', 'float', 'nan', 'constant', 'empty', 'flat', 'pickled'],
)
def test_bad_samples(array: np.ndarray, words: list[str], run: Any, tmp_path: Path) -> None:
  np.savez(tmp_path / 'bad.npz', samples=array)
  code, out, error = run(tmp_path / 'bad.npz')
  assert (code, out) == (2, '')
  assert error.startswith('jaxgen: ')
  assert error.count('\n') == 1
  for word in words:
    assert word in error


def test_few_samples_have_the_numbers_that_they_allow(run: Any, tmp_path: Path) -> None:
  np.savez(tmp_path / 'few.npz', samples=IMAGES[:16])
  code, out, _ = run(tmp_path / 'few.npz')
  assert code == 0
  assert re.search(r'^fid_pixels +– ', out, re.MULTILINE)
  assert re.search(r'^precision_pixels +\d', out, re.MULTILINE)
  assert 'fid_pixels: 16 images give a rank-deficient covariance of 64 features' in out


def test_every_damage_to_a_file_is_one_sentence(run: Any, tmp_path: Path) -> None:
  np.savez_compressed(tmp_path / 'good.npz', samples=IMAGES)
  good, said = (tmp_path / 'good.npz').read_bytes(), []
  for place in range(0, len(good), 7):
    damaged = bytearray(good)
    damaged[place] ^= 1 << (place % 8)
    (tmp_path / 'damaged.npz').write_bytes(bytes(damaged))
    try:
      foreign.read(tmp_path / 'damaged.npz')
    except UserError as error:
      said.append((type(error.__cause__).__name__, str(error)))
  assert {'BadZipFile', 'error'} <= {kind for kind, _ in said}  # zipfile's, zlib's
  assert not [words for _, words in said if '\n' in words]


def test_files_that_hold_no_samples(run: Any, tmp_path: Path) -> None:
  (tmp_path / 'torn.npz').write_bytes(b'PK\x03\x04 torn')
  (tmp_path / 'text.npz').write_text('no archive')
  (tmp_path / 'empty').mkdir()
  np.savez(tmp_path / 'two.npz', a=IMAGES, b=IMAGES)
  for name, word in {
    'missing.npz': 'no such file',
    'torn.npz': 'cannot be read',
    'text.npz': 'cannot be read',
    'empty': 'holds no .png',
    'two.npz': 'holds a, b',
  }.items():
    code, _, error = run(tmp_path / name)
    assert code == 2, name
    assert word in error, error
    assert error.count('\n') == 1, error
