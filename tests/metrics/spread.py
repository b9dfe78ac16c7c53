"""python -m tests.metrics.spread --data=mnist: how much a distance depends on the classifier.

Trains classifiers with other seeds (MNIST: two minutes of CPU each) and measures under each of them
the Fréchet distance of the same images: test images with noise of so many grey levels, and without
some classes, against the training images.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxgen import datasets
from jaxgen.evaluation.foreign import add_data, data_of
from jaxgen.evaluation.references import labelled
from jaxgen.features import classifier
from jaxgen.metrics.frechet import frechet_distance, moments

COUNT = 5000  # test images, at most


def noisy(images: np.ndarray, deviation: float) -> np.ndarray:
  """uint8 images plus Gaussian noise of this many grey levels."""
  noise = np.random.default_rng(1).normal(0.0, deviation, images.shape)
  return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def measured_sets(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
  """What the distances are measured of, by name."""
  yield 'as they are', images
  for deviation in (16.0, 32.0):
    yield f'noise of {deviation:.0f} grey levels', noisy(images, deviation)
  yield 'without 3 and 7', images[~np.isin(labels, (3, 7))]


def main() -> None:
  """Prints a row for each set of images: the distances, their mean and standard deviation."""
  parser = argparse.ArgumentParser(prog='python -m tests.metrics.spread', description=__doc__)
  add_data(parser)
  parser.add_argument('--seeds', type=int, default=5, help='classifiers')
  parser.add_argument('--folder', type=Path, help='where trained classifiers are kept')
  options = parser.parse_args()
  sets = labelled(datasets.load(data_of(options)))
  found: dict[str, list[float]] = {}
  for seed in range(options.seeds):
    features = classifier.build(
      *sets, folder=options.folder, recipe=classifier.Recipe(seed=seed)
    )  # fmt: skip
    real = moments(features.extract(sets[0]).features)
    for name, images in measured_sets(sets[2][:COUNT], sets[3][:COUNT]):
      distance = frechet_distance(real, moments(features.extract(images).features))
      found.setdefault(name, []).append(distance)
    print(f'seed {seed}: {features.accuracy:.2%}', flush=True)
  for name, values in found.items():
    each = ', '.join(f'{value:.2f}' for value in values)
    print(f'{name}: {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} ({each})')


if __name__ == '__main__':
  main()
