"""Fidelity and diversity apart: precision, recall, density, coverage.

Precision and recall: Kynkäänniemi et al. 2019, eq. 1 and 2. Density and coverage: Naeem et al.
2020, eq. 3 and 4. The manifold of a set is the union of closed balls around its features, each
reaching to its k-th nearest neighbour in the set, itself not counted.
"""

from typing import NamedTuple, Self

import numpy as np

from jaxgen.metrics.checks import require_distributions
from jaxgen.metrics.neighbours import ROUNDING, squared_distances


class ManifoldOverlap(NamedTuple):
  """Precision, recall and coverage in [0, 1]; density at least 0, about 1 for equal sets."""

  precision: float  # share of generated images in the manifold of the real: fidelity
  recall: float  # share of real images in the manifold of the generated: diversity
  density: float  # real balls around a generated image, over k: fidelity, robust to outliers
  coverage: float  # share of real images with a generated one in their ball: diversity


def _squared_radii(features: np.ndarray, neighbours: tuple[int, ...]) -> np.ndarray:
  """Squared distances (k, N) to the k-th nearest other feature, for each k in `neighbours`.

  Rounded up, as a ball is closed: what equals the radius but for rounding is inside.
  """
  radii = np.empty((len(neighbours), len(features)))
  most = max(neighbours)
  for part, block in squared_distances(features, features):
    block[np.arange(len(block)), np.arange(part.start, part.stop)] = -np.inf  # itself comes first
    block.partition(most, axis=1)
    radii[:, part] = np.sort(block[:, : most + 1], axis=1)[:, neighbours].T
  return radii + ROUNDING * np.sum((features - features.mean(axis=0)) ** 2, axis=1).max()


def manifold_overlap(
  real: np.ndarray,
  generated: np.ndarray,
  *,
  precision_neighbours: int = 3,
  density_neighbours: int = 5,
) -> ManifoldOverlap:
  """Precision, recall, density and coverage of generated against real features.

  The order matters: swapping the sets swaps precision and recall. All four depend on the numbers
  of images; compare only with equal ones.

  Args:
    real: features (N, d).
    generated: features (M, d).
    precision_neighbours: k of precision and recall (3 in their paper).
    density_neighbours: k of density and coverage (5 in their paper).

  Raises:
    ValueError: the features are not fit for a metric, their dimensions differ, a k is below one or
      a set has no more images than it.
  """
  return overlap_and_errors(
    real,
    generated,
    precision_neighbours=precision_neighbours,
    density_neighbours=density_neighbours,
  )[0]


def overlap_and_errors(
  real: np.ndarray,
  generated: np.ndarray,
  *,
  precision_neighbours: int = 3,
  density_neighbours: int = 5,
) -> tuple[ManifoldOverlap, ManifoldOverlap]:
  """`manifold_overlap`, and the standard error of each from generated images drawn anew.

  The errors are the jackknife's: each generated image is left out once, and what the number then
  loses is known without measuring again. Recall is taken to lose what one ball alone holds; that
  its neighbours' balls would grow is left out, which makes its error too large rather than too
  small. The real images are taken as they are. No share is known better than to one image.
  """
  real, generated = require_distributions(real, generated, ('real', 'generated'))
  ks = (precision_neighbours, density_neighbours)
  if min(ks) < 1 or min(len(real), len(generated)) <= max(ks):
    raise ValueError(
      f'{len(real)} real and {len(generated)} generated images do not allow {min(ks)} to {max(ks)} '
      f'neighbours; take at least 1 neighbour, and at least {max(ks) + 1} images of each'
    )
  manifold_radii, density_radii = _squared_radii(real, ks)
  generated_radii = _squared_radii(generated, (precision_neighbours,))[0]
  inside_real = np.zeros(len(generated), bool)
  balls = np.zeros(len(generated), np.int64)
  recalled, covered = _Held.none(len(real)), _Held.none(len(real))
  for part, distances in squared_distances(generated, real):
    inside_real[part] = np.any(distances <= manifold_radii, axis=1)
    recalled.add(distances <= generated_radii[part, None], part.start)
    inside = distances <= density_radii
    covered.add(inside, part.start)
    balls[part] = np.count_nonzero(inside, axis=1)
  shares = [
    inside_real,
    recalled.only_by(len(generated)) * (len(generated) / len(real)),
    balls / density_neighbours,
    covered.only_by(len(generated)) * (len(generated) / len(real)),
  ]
  value = ManifoldOverlap(
    precision=float(inside_real.mean()),
    recall=float(np.mean(recalled.times > 0)),
    density=float(shares[2].mean()),
    coverage=float(np.mean(covered.times > 0)),
  )
  root, least = np.sqrt(len(generated)), 1.0 / len(generated)
  errors = (max(float(np.std(share, ddof=1) / root), least) for share in shares)
  return value, ManifoldOverlap(*errors)


class _Held(NamedTuple):
  """How many generated images hold each real one (N,), and, where it is one, which."""

  times: np.ndarray
  last: np.ndarray

  @classmethod
  def none(cls, count: int) -> Self:
    return cls(np.zeros(count, np.int64), np.zeros(count, np.int64))

  def add(self, held: np.ndarray, start: int) -> None:
    """Counts a block (n, N) of generated images that begins at row `start`."""
    found = np.count_nonzero(held, axis=0)
    new = (found > 0) & (self.times == 0)
    self.last[new] = start + held[:, new].argmax(axis=0)
    self.times[:] += found

  def only_by(self, generated: int) -> np.ndarray:
    """How many real images each of so many generated images holds alone."""
    return np.bincount(self.last[self.times == 1], minlength=generated)
