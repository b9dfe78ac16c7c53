"""Fidelity and diversity apart: precision, recall, density, coverage.

Precision and recall: Kynkäänniemi et al. 2019, eq. 1 and 2. Density and coverage: Naeem et al.
2020, eq. 3 and 4. The manifold of a set is the union of closed balls around its features, each
reaching to its k-th nearest neighbour in the set, itself not counted.
"""

from typing import NamedTuple

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
  covered = np.zeros(len(real), bool)
  recalled = np.zeros(len(real), bool)
  balls = 0
  for part, distances in squared_distances(generated, real):
    inside_real[part] = np.any(distances <= manifold_radii, axis=1)
    recalled |= np.any(distances <= generated_radii[part, None], axis=0)
    inside = distances <= density_radii
    covered |= inside.any(axis=0)
    balls += np.count_nonzero(inside)
  return ManifoldOverlap(
    precision=float(inside_real.mean()),
    recall=float(recalled.mean()),
    density=float(balls) / (density_neighbours * len(generated)),
    coverage=float(covered.mean()),
  )
