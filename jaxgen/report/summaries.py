"""What the runs of a group came to in one number, and how far chance alone parts two groups."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from jaxgen.evaluation.protocol import deviation

CONFIDENCE = 0.95  # that a lead is more than noise, for the best to be marked


class Summary(NamedTuple):
  """What a table says about one group.

  Attributes:
    value: the mean.
    spread: what stands after ±.
    spread_is: what that is.
    of: of how many.
    reason: why there is no value.
    error: standard error of the value, None where it is not known.
    freedom: degrees of freedom of that error, one less than the runs that it was taken from.
    values: of each run, None of one that has none.
  """

  value: float | None = None
  spread: float | None = None
  spread_is: str = ''
  of: str = ''
  reason: str = ''
  error: float | None = None
  freedom: float = math.inf
  values: tuple[float | None, ...] = ()

  @property
  def text(self) -> str:
    """The value with its spread, or a dash."""
    if self.value is None:
      return '–'
    if self.spread is not None and self.spread > 1e-6 * abs(self.value):
      decimals = max(0, 1 - math.floor(math.log10(self.spread)))  # two digits of the spread
      return f'{self.value:,.{decimals}f} ± {self.spread:,.{decimals}f}'
    whole = float(self.value).is_integer() or abs(self.value) >= 1_000
    value = f'{self.value:,.0f}' if whole else f'{self.value:.4g}'
    return value if self.spread is None else f'{value} ± 0'


def summarise(runs: Sequence[Sequence[float]], error: float | None = None) -> Summary:
  """Mean and deviation over runs; of one run over its sets of samples, or its standard error.

  Args:
    runs: the values of each run, one for each set of samples; runs without any are left out.
    error: standard error of one value, where it is known. The error of a mean over few runs is not
      taken for less than the samples alone give it.
  """
  each = tuple(float(np.mean(values)) if values else None for values in runs)
  means = [mean for mean in each if mean is not None]
  if not means:
    return Summary()
  of = [values for values in runs if values]
  count = sum(map(len, of))
  if count == 1:
    what = 'standard error' if error is not None else ''
    return Summary(means[0], error, what, error=error, values=each)
  if len(of) > 1:
    spread, what, number = deviation(means), 'deviation over training runs', f'{len(of)} runs'
  else:
    spread, what = deviation(of[0]), 'deviation over sets of samples of one training run'
    number = f'{count} sets'
  repeats = len(of) if len(of) > 1 else count
  of_mean = max(spread / math.sqrt(repeats), (error or 0) / count**0.5)
  mean = float(np.mean(means))
  return Summary(mean, spread, what, number, error=of_mean, freedom=repeats - 1, values=each)


def noise(one: Summary, other: Summary) -> float:
  """The difference of two means that chance alone makes in one of twenty pairs (Welch 1947).

  Few runs say little of how far runs spread: of two groups of three, it is two to four combined
  standard errors.
  """
  if one.error is None or other.error is None:
    return math.inf
  variance = one.error**2 + other.error**2
  unsure = one.error**4 / one.freedom + other.error**4 / other.freedom
  freedom = variance**2 / unsure if unsure else math.inf
  return math.sqrt(variance) * float(scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
