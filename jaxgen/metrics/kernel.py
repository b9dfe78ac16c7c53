"""Kernel distance: unbiased squared MMD with a cubic kernel (Bińkowski et al. 2018, sec. 3).

k(x, y) = (x·y / d + 1)³ with d the feature dimension. Unlike the Fréchet distance its expectation
does not depend on the number of images, and is zero for equal distributions (estimates of near
zero may be negative).
"""

from typing import NamedTuple

import numpy as np

from jaxgen.metrics.checks import require_distributions


class KernelDistance(NamedTuple):
  """Mean over disjoint subsets, and its standard error."""

  mean: float
  standard_error: float
  subsets: int
  subset_size: int


def cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """k(x, y) of features (N, d) and (M, d) -> (N, M)."""
  inner = x @ y.T
  inner /= x.shape[1]
  inner += 1.0
  return inner * inner * inner


def squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
  """The unbiased estimate of MMD² (Gretton et al. 2012, lemma 6, eq. 3).

  Args:
    x: float64 (m, d), m at least 2.
    y: float64 (n, d), n at least 2.
  """
  m, n = len(x), len(y)
  within_x = cubic_kernel(x, x)
  within_y = cubic_kernel(y, y)
  return float(
    (within_x.sum() - np.trace(within_x)) / (m * (m - 1))
    + (within_y.sum() - np.trace(within_y)) / (n * (n - 1))
    - 2.0 * cubic_kernel(x, y).mean()
  )


def kernel_distance(
  a: np.ndarray, b: np.ndarray, *, subset_size: int | None = None, seed: int = 0
) -> KernelDistance:
  """The kernel distance of two sets of features, from disjoint seeded subsets.

  The subsets do not overlap (block MMD: Zaremba et al. 2013), so that their estimates are
  independent and the standard error is one; subsets drawn anew from the same images, as other
  packages do, understate it.

  Args:
    a: features (N, d).
    b: features (M, d); the distance is symmetric but for the drawing of the subsets.
    subset_size: images of each set in a subset: by default 1000, and less where that would leave
      fewer than ten subsets.
    seed: of the permutations that fill the subsets.

  Raises:
    ValueError: the features are not fit for a metric or their dimensions differ, or fewer than two
      subsets of at least two images can be filled.
  """
  a, b = require_distributions(a, b, ('first', 'second'))
  available = min(len(a), len(b))
  size = min(1000, max(2, available // 10)) if subset_size is None else subset_size
  if size < 2 or available < 2 * size:
    raise ValueError(
      f'{len(a)} and {len(b)} images do not fill two subsets of {size}; give at least '
      f'{2 * max(2, size)} images of each, or a subset_size from 2 to {max(2, available // 2)}'
    )
  generator = np.random.default_rng(seed)
  order_a, order_b = generator.permutation(len(a)), generator.permutation(len(b))
  starts = range(0, available - size + 1, size)
  distances = [
    squared_mmd(a[order_a[start : start + size]], b[order_b[start : start + size]])
    for start in starts
  ]
  error = np.std(distances, ddof=1) / np.sqrt(len(distances))
  return KernelDistance(float(np.mean(distances)), float(error), len(distances), size)
