"""What every metric asks of its arrays; the messages say whose array it was."""

import numpy as np

# Features are float32: a relative spread below this is the rounding of equal images.
SAME = 1e-5


def require_features(features: np.ndarray, whose: str) -> np.ndarray:
  """Features as they must be, one row per image.

  Args:
    features: floating point (N, d).
    whose: names the array in messages, as in 'real' or 'generated'.

  Returns:
    float64 (N, d).

  Raises:
    ValueError: not two-dimensional, not floating point, empty, or not finite.
  """
  features = np.asarray(features)
  if features.ndim != 2 or 0 in features.shape:
    raise ValueError(
      f'The {whose} features have shape {features.shape}; give (N, d), a row for each image'
    )
  if not np.issubdtype(features.dtype, np.floating):
    raise ValueError(
      f'The {whose} features are {features.dtype}; extract floating-point features first'
    )
  broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
  if broken.size:
    raise ValueError(
      f'The {whose} features of {broken.size} of {len(features)} images are not finite, first at '
      f'image {broken[0]}; look for NaN or infinity in the images or the weights'
    )
  return features.astype(np.float64)


def require_variety(features: np.ndarray, whose: str) -> None:
  """Raises ValueError where all rows of features (N, d) are the same up to float32 rounding."""
  spread = np.ptp(features, axis=0)
  if np.all(spread <= SAME * np.abs(features).max()):
    raise ValueError(
      f'All {len(features)} {whose} images have the same features: they are constant, or the model '
      'has collapsed to one image, and no distance between distributions means anything'
    )


def require_same_dimension(
  first: np.ndarray, second: np.ndarray, names: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
  """Two sets of features (N, d) and (M, d) of one extractor, as float64.

  Raises:
    ValueError: either is not fit for a metric (`require_features`), or their dimensions differ.
  """
  first, second = (require_features(f, n) for f, n in zip((first, second), names, strict=True))
  if first.shape[1] != second.shape[1]:
    raise ValueError(
      f'The {names[0]} features have dimension {first.shape[1]}, the {names[1]} features '
      f'{second.shape[1]}; extract both with the same features'
    )
  return first, second


def require_distributions(
  first: np.ndarray, second: np.ndarray, names: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
  """`require_same_dimension` and, of both, `require_variety`."""
  first, second = require_same_dimension(first, second, names)
  require_variety(first, names[0])
  require_variety(second, names[1])
  return first, second


def require_probabilities(probabilities: np.ndarray, whose: str) -> np.ndarray:
  """Class probabilities as they must be.

  Args:
    probabilities: floating point (N, K), rows adding up to one.
    whose: names the array in messages.

  Returns:
    float64 (N, K), rows adding up to one exactly.

  Raises:
    ValueError: not features at all (`require_features`), negative, or not adding up to one.
  """
  probabilities = require_features(probabilities, f'{whose} class')
  totals = probabilities.sum(axis=1)
  wrong = np.flatnonzero((probabilities < 0.0).any(axis=1) | (np.abs(totals - 1.0) > 1e-3))
  if wrong.size:
    raise ValueError(
      f'Row {wrong[0]} of the {whose} class probabilities adds up to {totals[wrong[0]]:.6g} with '
      f'minimum {probabilities[wrong[0]].min():.6g}; give probabilities, not logits'
    )
  return probabilities / totals[:, None]


def require_labels(labels: np.ndarray, count: int, classes: int, whose: str) -> np.ndarray:
  """Labels as integers (N,) in [0, classes).

  Raises:
    ValueError: of another shape or type, or out of range.
  """
  labels = np.asarray(labels)
  if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f'The {whose} labels are {labels.dtype} of shape {labels.shape}; give integers of shape '
      f'({count},), one for each image'
    )
  if labels.min() < 0 or labels.max() >= classes:
    raise ValueError(
      f'The {whose} labels range from {labels.min()} to {labels.max()}; with {classes} classes '
      f'they must be 0 to {classes - 1}'
    )
  return labels.astype(np.int64)
