"""How many samples of models of the digits are digits, to a classifier of real ones.

python -m tests.digits edm hinge_gan                # trains both files, 1,000 samples each
python -m tests.digits runs/grown-16/samples.npz    # samples that are there, averaged down to 8x8
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.svm import SVC

ROOT = Path(__file__).parents[1]
SAMPLES = 1000
SIDE = 8
HEAD = '| file | recognised | classes | training, sampling, seconds |\n|---|---|---|---|'


def recognised(samples: np.ndarray) -> tuple[float, np.ndarray]:
  """Share of samples with a class probability above 0.5, and each class's share of the samples.

  Args:
    samples: (N, 8 n, 8 n, 1) in [0, 255], of which the means of n x n pixels count.
  """
  real, n = load_digits(), samples.shape[1] // SIDE
  classifier = SVC(probability=True, random_state=0).fit(real.data, real.target)
  small = samples.reshape(-1, SIDE, n, SIDE, n).mean(axis=(2, 4))
  probabilities = classifier.predict_proba(small.reshape(len(samples), -1) * (16 / 255))
  classes = np.bincount(probabilities.argmax(axis=1), minlength=10)
  return float(np.mean(probabilities.max(axis=1) > 0.5)), classes / len(samples)


def row(name: str, path: Path, seconds: str = '') -> str:
  """A line of the table, of the samples in a file."""
  with np.load(path, allow_pickle=False) as file:
    share, classes = recognised(file['samples'])
  return f'| `{name}` | {share:.1%} | {classes.min():.1%} to {classes.max():.1%} | {seconds} |'


def timed(*arguments: str) -> float:
  """Runs `python -m jaxgen.main`, without its progress, and gives the seconds that it took."""
  began = time.monotonic()
  command = [sys.executable, '-m', 'jaxgen.main', *arguments]
  if subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
    raise SystemExit(2)  # which has said why
  return time.monotonic() - began


def trained(name: str) -> str:
  """A line of the table, of a new run of an experiment as its file has it.

  The seconds are of the whole processes, with their start and compilation.
  """
  with tempfile.TemporaryDirectory() as folder:
    workdir = f'--workdir={folder}'
    watched = '--config.evaluation.every=0', '--config.evaluation.training_samples=0'
    training = timed(f'--config=experiments/{name}.py', workdir, *watched)
    sampling = timed('--mode=sample', workdir, f'--num_samples={SAMPLES}')
    return row(f'{name}.py', Path(folder) / 'samples.npz', f'{training:.0f}, {sampling:.0f}')


def main() -> None:
  """Prints the table of what is named."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('names', nargs='+', help='of files in experiments/, or .npz of samples')
  print(HEAD)
  for name in parser.parse_args().names:
    print(row(name, Path(name)) if name.endswith('.npz') else trained(name), flush=True)


if __name__ == '__main__':
  main()
