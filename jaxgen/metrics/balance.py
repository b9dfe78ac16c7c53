"""Class balance: does the model make every class as often as the data has it?"""

from typing import NamedTuple

import numpy as np
from scipy.special import entr, rel_entr

from jaxgen.metrics.checks import require_features, require_labels, require_probabilities
from jaxgen.metrics.frechet import Moments, covariance, frechet_distance, moments

CLAIM = 0.5  # the least probability with which a class claims an image
MISSING = 0.1  # a class made less often than this times its share of the data is missing


class ClassBalance(NamedTuple):
  """The classes of the generated images, by the most probable class of each.

  missing counts by shares, as a classifier's few errors hide an exact zero. Entropy and divergence
  are of the shares as they were found, so that chance among N images makes them too low and too
  high by about (K - 1) / 2N nats; the corrected divergence has that taken off, with K the classes
  that were made (Miller 1955), and may come out below zero. The data's shares are taken as given.
  """

  histogram: np.ndarray  # int64 (K,), images of each class
  entropy_nats: float  # of the histogram's shares; log K when balanced
  kl_nats: float  # KL(generated shares || data shares)
  kl_corrected_nats: float  # the same less its bias
  kl_standard_error: float  # nats, of both
  missing: tuple[int, ...]  # classes made less than a tenth as often as the data has them
  unclaimed: float  # share of images that no class claims


class ClassFrechet(NamedTuple):
  """Fréchet distance of each class, and for the classes that have none, the reason."""

  distances: dict[int, float]
  reasons: dict[int, str]


def class_balance(
  probabilities: np.ndarray, data_histogram: np.ndarray, *, claim: float = CLAIM
) -> ClassBalance:
  """Compares the generated classes with the data's.

  Args:
    probabilities: (N, K), the classifier's p(y|x) of each generated image.
    data_histogram: (K,), images of each class in the data.
    claim: an image whose largest probability is less is claimed by no class (it still counts in
      the histogram). Compare the share with that of real test images.

  Raises:
    ValueError: these are no probabilities, the histogram is of another shape or has an empty
      class, or claim is not within (0, 1].
  """
  probabilities = require_probabilities(probabilities, 'generated')
  classes = probabilities.shape[1]
  data_histogram = np.asarray(data_histogram)
  if data_histogram.shape != (classes,) or not np.all(data_histogram > 0):
    raise ValueError(
      f'The data histogram is {data_histogram.tolist()}; it must count at least one image for each '
      f'of the {classes} classes'
    )
  if not 0.0 < claim <= 1.0:
    raise ValueError(f'claim is {claim}; a probability above 0 and at most 1 is needed')
  histogram = np.bincount(probabilities.argmax(axis=1), minlength=classes)
  shares = histogram / histogram.sum()
  data_shares = data_histogram / data_histogram.sum()
  divergence = float(rel_entr(shares, data_shares).sum())
  made = np.flatnonzero(histogram)
  surprise = np.log(shares[made] / data_shares[made])
  # By the delta method; never less than among classes drawn as the data's, where 2N KL is
  # chi-squared with K - 1 degrees of freedom.
  slope = np.sum(shares[made] * (surprise - divergence) ** 2) / len(probabilities)
  least = (classes - 1) / (2.0 * len(probabilities) ** 2)
  return ClassBalance(
    histogram=histogram,
    entropy_nats=float(entr(shares).sum()),
    kl_nats=divergence,
    kl_corrected_nats=divergence - (len(made) - 1) / (2.0 * len(probabilities)),
    kl_standard_error=float(np.sqrt(max(slope, least))),
    missing=tuple(np.flatnonzero(shares < MISSING * data_shares).tolist()),
    unclaimed=float(np.mean(probabilities.max(axis=1) < claim)),
  )


def class_frechet(
  real: np.ndarray,
  real_labels: np.ndarray,
  generated: np.ndarray,
  generated_labels: np.ndarray,
  classes: int,
) -> ClassFrechet:
  """The Fréchet distance within each class: which class the model makes badly.

  Args:
    real: features (N, d).
    real_labels: integers (N,), the data's own or the classifier's.
    generated: features (M, d).
    generated_labels: integers (M,), the classifier's.
    classes: number of classes K; labels are 0 to K - 1.

  Raises:
    ValueError: the features are not fit for a metric, or the labels are of another shape or out of
      range. A class with too few images raises nothing: it has a reason in place of a distance.
  """
  sets = []
  for features, labels, whose in (
    (real, real_labels, 'real'),
    (generated, generated_labels, 'generated'),
  ):
    features = require_features(features, whose)
    labels = require_labels(labels, len(features), classes, whose)
    sets.append((whose, features, labels))
  distances, reasons = {}, {}
  for label in range(classes):
    try:
      within = [_class_moments(*images, label) for images in sets]
      distances[label] = frechet_distance(*within)
    except ValueError as error:
      reasons[label] = str(error)
  return ClassFrechet(distances, reasons)


def _class_moments(whose: str, features: np.ndarray, labels: np.ndarray, label: int) -> Moments:
  """Moments of one class. Raises ValueError if it has too few images for a covariance."""
  if not np.any(labels == label):
    raise ValueError(f'No {whose} image of class {label}')
  within = moments(features[labels == label])
  try:
    covariance(within)
  except ValueError as error:
    raise ValueError(f'{whose} class {label}: {error}') from None
  return within
