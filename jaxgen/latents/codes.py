"""What is done with codes: paths between them, directions, means. Numpy in, numpy out."""

import numpy as np
from scipy.stats import norm


def line(start: np.ndarray, end: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Codes on the straight line from one code (d,) to another: (T,) weights in [0, 1] -> (T, d)."""
  return start + weights[:, None] * (end - start)


def strongest(codes: np.ndarray) -> np.ndarray:
  """The dimensions of codes (N, d) by falling variance: (d,), ties in their order."""
  return np.argsort(-codes.var(axis=0), kind='stable')


def principal_axes(codes: np.ndarray) -> np.ndarray:
  """The unit vectors along which codes (N, d) vary most, by falling variance: (d, d), in rows.

  The largest entry of each is positive.
  """
  _, axes = np.linalg.eigh(np.atleast_2d(np.cov(codes.T, bias=True)))
  axes = axes[:, ::-1].T
  largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
  return axes * np.sign(largest)


def traversal(code: np.ndarray, axis: np.ndarray, values: np.ndarray) -> np.ndarray:
  """A code (d,) whose part along a unit vector (d,) becomes each of some values (T,): (T, d)."""
  return code + (values - code @ axis)[:, None] * axis


def class_means(codes: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
  """The mean code of each class: (N, d), (N,) and (C,) -> (C, d)."""
  return np.stack([codes[labels == label].mean(axis=0) for label in classes])


def quantiles(side: int) -> np.ndarray:
  """Values of N(0, 1) with equal probabilities between them: (side,), rising."""
  return norm.ppf((np.arange(side) + 0.5) / side)


def plane(side: int) -> np.ndarray:
  """A square grid of equally probable values of N(0, I) in two dimensions: (side, side, 2).

  The first number rises from left to right, the second from the top down (Kingma & Welling 2013,
  fig. 4).
  """
  return np.stack(np.meshgrid(quantiles(side), quantiles(side)), axis=-1)
