"""How well a linear classifier reads labels from codes, beside how well from pixels.

The protocol: logistic regression with an L2 penalty (scikit-learn's, C = 1) on dimensions brought
to mean 0 and variance 1 by all training images; of the test images, the share that it is right on.
With fewer labels than all, several draws of them, as evenly over the classes as can be, and the
same ones for all features.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

LABELS = (100, 1000)  # besides all
DRAWS = 5
ITERATIONS = 1000  # of L-BFGS, at most


def draw(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Rows of `count` of the labels (N,), by chance, as evenly over the classes as they allow."""
  order = np.random.default_rng(seed).permutation(len(labels))
  within = np.empty(len(labels), np.int64)  # which of its class each is, in this order
  for label in np.unique(labels):
    own = order[labels[order] == label]
    within[own] = np.arange(len(own))
  return np.sort(order[np.argsort(within[order], kind='stable')][:count])


def accuracy(
  train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
  """The share of test features (M, d) whose label a classifier of training ones (N, d) finds."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', ConvergenceWarning)  # the protocol says how many iterations
    classifier = LogisticRegression(max_iter=ITERATIONS).fit(train, train_labels)
  return float(classifier.score(test, test_labels))


def probe(
  features: Mapping[str, tuple[np.ndarray, np.ndarray]],
  train_labels: np.ndarray,
  test_labels: np.ndarray,
  seed: int,
) -> dict[str, Any]:
  """Mean accuracies and their deviations over draws of labels.

  Args:
    features: by name, those of training images (N, d) and of test images (M, d).
    train_labels: (N,).
    test_labels: (M,).
    seed: of the draws; draw i is that of seed + i.

  Returns:
    The protocol, and by number of labels and name `mean`, `deviation` (of single draws, over n - 1;
    None of a single one) and `draws`.
  """
  scaled = {}
  for name, (train, test) in features.items():
    scaler = StandardScaler().fit(train)
    scaled[name] = scaler.transform(train), scaler.transform(test)
  total = len(train_labels)
  found = {}
  for count in (*(n for n in LABELS if n < total), total):
    seeds = range(seed, seed + DRAWS) if count < total else [seed]
    rows = [draw(train_labels, count, s) for s in seeds]
    found[str(count)] = {
      name: spread([accuracy(train[r], train_labels[r], test, test_labels) for r in rows])
      for name, (train, test) in scaled.items()
    }
  return {
    'protocol': __doc__.partition('The protocol: ')[2].replace('\n', ' ').strip(),
    'test_images': len(test_labels),
    'seed': seed,
    'accuracy_by_labels': found,
  }


def spread(values: list[float]) -> dict[str, Any]:
  """Mean and deviation of some draws."""
  deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return {'mean': float(np.mean(values)), 'deviation': deviation, 'draws': len(values)}


def table(found: dict[str, Any]) -> str:
  """What `probe` found, as lines of text."""
  rows = found['accuracy_by_labels']
  names = list(next(iter(rows.values())))
  lines = [f'{"labels":>8}' + ''.join(f'{name:>16}' for name in names)]
  for count, by_name in rows.items():
    cells = [
      f'{cell["mean"]:.3f}' + (f' ± {cell["deviation"]:.3f}' if cell['deviation'] else '')
      for cell in by_name.values()
    ]
    lines.append(f'{count:>8}' + ''.join(f'{cell:>16}' for cell in cells))
  return '\n'.join(lines)
