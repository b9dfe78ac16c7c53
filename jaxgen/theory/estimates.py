"""Numbers from random draws, with their standard errors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

ROUNDING = 1e-13  # relative, of sums in float64


class Estimate(NamedTuple):
  """A number and its standard error."""

  value: float
  error: float


def mean(draws: ArrayLike) -> Estimate:
  """Of independent draws (N,); draws that differ by rounding alone have no error."""
  draws = np.asarray(draws, np.float64)
  spread = draws.std(ddof=1)
  error = spread / np.sqrt(draws.size) if spread > ROUNDING * np.abs(draws).max() else 0.0
  return Estimate(float(draws.mean()), float(error))


def variance(draws: ArrayLike) -> Estimate:
  """Of independent draws (N,); its error by the delta method, from their fourth moment."""
  draws = np.asarray(draws, np.float64)
  found = mean((draws - draws.mean()) ** 2)
  return Estimate(found.value * draws.size / (draws.size - 1), found.error)


def slope(x: ArrayLike, y: ArrayLike, errors: ArrayLike | None = None) -> Estimate:
  """Of the straight line through log y over log x (N,), with the error that those of y give it.

  Where they are not known, it is that of the residuals.
  """
  x, y = np.log(np.asarray(x, np.float64)), np.asarray(y, np.float64)
  shares = None if errors is None else np.asarray(errors) / y  # errors of log y
  x, y = x - x.mean(), np.log(y) - np.log(y).mean()
  found = (x @ y) / (x @ x)
  if shares is None:
    shares = np.sqrt(np.sum((y - found * x) ** 2) / (len(x) - 2))
  return Estimate(float(found), float(np.linalg.norm(shares * x) / (x @ x)))


def mean_slope(x: ArrayLike, y: ArrayLike) -> Estimate:
  """The mean of the slopes of independent repetitions, y (R, N) over x (N,)."""
  return mean([slope(x, line).value for line in np.asarray(y)])
