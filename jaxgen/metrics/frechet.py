"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6).

d² = |μ_a - μ_b|² + Tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½), the squared 2-Wasserstein distance of two
Gaussians (Dowson & Landau 1982), in float64.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from jaxgen.metrics.checks import SAME, require_features


class Moments(NamedTuple):
  """Count, mean (d,) and second = Σ_i (x_i - mean)(x_i - mean)ᵀ (d, d), in float64."""

  count: int
  mean: np.ndarray
  second: np.ndarray


def moments(features: np.ndarray, whose: str = 'given') -> Moments:
  """The moments of features (N, d); `whose` names them in messages.

  Raises:
    ValueError: the features are not finite floating-point (N, d).
  """
  features = require_features(features, whose)
  mean = features.mean(axis=0)
  centred = features - mean
  return Moments(len(features), mean, centred.T @ centred)


def covariance(state: Moments) -> np.ndarray:
  """The unbiased covariance (d, d).

  Raises:
    ValueError: there are too few images for a covariance of full rank, or all are the same.
  """
  dimension = state.mean.size
  if state.count <= dimension:
    raise ValueError(
      f'{state.count} images give a rank-deficient covariance of {dimension} features: at least '
      f'{dimension + 1} are needed, and several times that for a stable distance; evaluate more '
      'images or take features of smaller dimension'
    )
  variances = np.diag(state.second) / (state.count - 1)
  if variances.max() <= (SAME * np.abs(state.mean).max()) ** 2:
    raise ValueError(
      f'All {state.count} images have the same features: they are constant, or the model has '
      'collapsed to one image, and no distance between distributions means anything'
    )
  return state.second / (state.count - 1)


def _eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Eigenvalues, at least zero, and eigenvectors of a covariance. Raises ValueError if negative."""
  values, vectors = scipy.linalg.eigh(matrix)
  if values[0] < -1e-8 * abs(values[-1]):
    raise ValueError(
      f'A covariance has eigenvalues from {values[0]:.3g} to {values[-1]:.3g}, and they cannot be '
      'negative; compute the moments again from the features'
    )
  return np.maximum(values, 0.0), vectors


def _roots(a: Moments, b: Moments) -> tuple[np.ndarray, np.ndarray]:
  """R with R Rᵀ = Σ, of both covariances: eigenvectors by the roots of their eigenvalues.

  Raises:
    ValueError: `frechet_distance` says when.
  """
  if a.mean.shape != b.mean.shape:
    raise ValueError(
      f'The moments have dimensions {a.mean.size} and {b.mean.size}; extract both with the same '
      'features'
    )
  if not all(np.isfinite(part).all() for m in (a, b) for part in m[1:]):
    raise ValueError('The moments are not finite; compute them again from finite features')
  eigen = [_eigen(covariance(m)) for m in (a, b)]
  return tuple(vectors * np.sqrt(values) for values, vectors in eigen)


def frechet_distance(a: Moments, b: Moments) -> float:
  """d² of the Gaussians with these moments, symmetric in a and b.

  Tr (Σ_a Σ_b)^½ is the sum of the singular values of R_aᵀ R_b, where Σ = R Rᵀ: real by
  construction, and accurate where Σ is nearly singular, as no root of a small eigenvalue is taken.

  Returns:
    d² in squared feature units, at least zero. Its bias is positive and falls with the counts:
    compare only distances with equal counts.

  Raises:
    ValueError: the dimensions differ, a count is not above the dimension, all images of a set are
      the same, or a moment is not finite.
  """
  root_a, root_b = _roots(a, b)
  overlap = scipy.linalg.svdvals(root_a.T @ root_b).sum()
  spread = np.sum(root_a**2) + np.sum(root_b**2)  # Tr Σ = |R|²
  return max(0.0, float(np.sum((a.mean - b.mean) ** 2) + spread - 2.0 * overlap))


def standard_error(reference: Moments, features: np.ndarray) -> float:
  """Standard error of d² from features drawn anew, by the infinitesimal jackknife (Efron 1982).

  An image x pulls at d² with its derivative, 2 (μ - μ_r)ᵀ y + yᵀ (I - T) y, where y = x - μ and
  T = R⁻ᵀ V S Vᵀ R⁻¹ is the optimal map to the reference (R_rᵀ R = U S Vᵀ). The deviation of that
  pull over √N is the error: of the samples' drawing alone, as the reference is taken as it is. Near
  d² = 0, where the derivative vanishes, it is too large rather than too small.

  Args:
    reference: moments of the data.
    features: (N, d) of the samples.

  Raises:
    ValueError: as `frechet_distance` and `moments`.
  """
  own = moments(features)
  root_reference, root = _roots(reference, own)
  _, singular, turn = scipy.linalg.svd(root_reference.T @ root)
  apart = np.asarray(features, np.float64) - own.mean
  scales = np.sum(root**2, axis=0)  # eigenvalues, so that R⁻¹ y = Rᵀ y / scales
  seen = scales > SAME**2 * scales.max()
  white = (apart @ root[:, seen] / scales[None, seen]) @ turn[:, seen].T
  pull = 2.0 * apart @ (own.mean - reference.mean)
  pull += np.sum(apart**2, axis=1) - np.sum(singular[None] * white**2, axis=1)
  return float(np.std(pull, ddof=1) / np.sqrt(len(pull)))
