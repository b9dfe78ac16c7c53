"""Kernel distance: unbiased squared MMD with a cubic kernel (Bińkowski et al. 2018, sec. 3).

k(x, y) = (x·y / d + 1)³ with d the feature dimension. Unlike the Fréchet distance its expectation
does not depend on the number of images, and is zero for equal distributions (estimates of near
zero may be negative).
"""

from typing import NamedTuple

import numpy as np

from jaxgen.metrics.checks import require_distributions

LARGEST = 1000  # images of a set in a subset


class Subsets(NamedTuple):
  """How many disjoint subsets are drawn, and how many images of each set are in one."""

  count: int
  of_first: int
  of_second: int

  @property
  def used(self) -> tuple[int, int]:
    """The images of each set that are used."""
    return self.count * self.of_first, self.count * self.of_second


class KernelDistance(NamedTuple):
  """Mean over disjoint subsets, and its standard error."""

  mean: float
  standard_error: float
  subsets: Subsets


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


def divide(first: int, second: int, size: int | None = None) -> Subsets:
  """The subsets of so many images of each set.

  Args:
    first: images of the first set.
    second: of the second.
    size: of the smaller set in a subset: by default 1000, and less where that would leave fewer
      than ten subsets. Of the larger set each subset has as many more as there are, at most 1000.
  """
  fewer = min(first, second)
  size = min(LARGEST, max(2, fewer // 10)) if size is None else size
  count = fewer // max(1, size)
  sizes = (
    max(size, min(LARGEST, n // max(1, count))) if n > fewer else size for n in (first, second)
  )
  return Subsets(count, *sizes)


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
    subset_size: images of the smaller set in a subset, see `divide`.
    seed: of the permutations that fill the subsets.

  Raises:
    ValueError: the features are not fit for a metric or their dimensions differ, or fewer than two
      subsets of at least two images can be filled.
  """
  a, b = require_distributions(a, b, ('first', 'second'))
  subsets = divide(len(a), len(b), subset_size)
  size = min(subsets[1:])
  if size < 2 or subsets.count < 2:
    raise ValueError(
      f'{len(a)} and {len(b)} images do not fill two subsets of {size}; give at least '
      f'{2 * max(2, size)} images of each, or a subset_size from 2 to '
      f'{max(2, min(len(a), len(b)) // 2)}'
    )
  generator = np.random.default_rng(seed)
  parts = [
    generator.permutation(len(features))[:used].reshape(subsets.count, -1)
    for features, used in zip((a, b), subsets.used, strict=True)
  ]
  distances = [squared_mmd(a[rows], b[columns]) for rows, columns in zip(*parts, strict=True)]
  error = np.std(distances, ddof=1) / np.sqrt(len(distances))
  return KernelDistance(float(np.mean(distances)), float(error), subsets)
