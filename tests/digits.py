"""How many samples of experiments on the digits are digits, to a classifier of real ones.

python -m tests.digits --workdir=runs edm hinge_gan
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.svm import SVC

ROOT = Path(__file__).parents[1]
SAMPLES = 1000
HEAD = '| file | recognised | classes | training, sampling in s |\n|---|---|---|---|'


def recognised(samples: np.ndarray) -> tuple[float, np.ndarray]:
  """Share of samples with a class probability above 0.5, and each class's share of the samples."""
  real = load_digits()
  classifier = SVC(probability=True, random_state=0).fit(real.data, real.target)
  probabilities = classifier.predict_proba(samples.reshape(len(samples), -1) * (16 / 255))
  classes = np.bincount(probabilities.argmax(axis=1), minlength=10)
  return float(np.mean(probabilities.max(axis=1) > 0.5)), classes / len(samples)


def jaxgen(*arguments: str) -> float:
  """Runs `python -m jaxgen.main`, silently, and gives the seconds that it took."""
  began = time.monotonic()
  command = [sys.executable, '-m', 'jaxgen.main', *arguments]
  subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
  return time.monotonic() - began


def line(name: str, folder: Path) -> str:
  """A line of the table: trains an experiment as its file has it, and draws from it."""
  workdir = f'--workdir={folder.absolute() / name}'
  watched = '--config.evaluation.every=0', '--config.evaluation.training_samples=0'
  training = jaxgen(f'--config=experiments/{name}.py', workdir, *watched)
  sampling = jaxgen('--mode=sample', workdir, f'--num_samples={SAMPLES}')
  with np.load(folder / name / 'samples.npz', allow_pickle=False) as file:
    share, classes = recognised(file['samples'])
  spread = f'{classes.min():.1%} to {classes.max():.1%}'
  return f'| `{name}.py` | {share:.1%} | {spread} | {training:.0f}, {sampling:.0f} |'


def main() -> None:
  """Prints the table of the experiments that are named."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('names', nargs='+', help='of files in experiments/')
  parser.add_argument('--workdir', type=Path, default=Path('runs/digits'), help='of their runs')
  arguments = parser.parse_args()
  print(HEAD)
  for name in arguments.names:
    print(line(name, arguments.workdir), flush=True)


if __name__ == '__main__':
  main()
