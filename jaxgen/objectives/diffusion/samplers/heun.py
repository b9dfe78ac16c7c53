"""Heun's method in sigma for x / a, with churn (Karras et al. 2022, alg. 1 and 2), on any path.

Along the probability flow d(x / a) / d sigma = eps, the noise seen in x.
"""

from typing import NamedTuple

import jax
import numpy as np

from jaxgen.objectives.base import Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise, Levels, Sampler, State, levels, pairs


class Row(NamedTuple):
  """x_u = from_x x + drop slope, from `start`, where noise has been added to x, to `end`."""

  start: Levels
  end: Levels
  scale: np.ndarray  # of x where noise is added to it
  added: np.ndarray  # its standard deviation
  from_x: np.ndarray
  drop: np.ndarray


def sampler(
  churn: float = 0.0, churn_min: float = 0.0, churn_max: float = 0.0, churn_noise: float = 0.0
) -> Sampler:
  """Adds a little noise, then goes down with the mean of the slopes at both ends.

  Args:
    churn: S_churn, 0 for none: noise is raised by this part of it over all steps (alg. 2).
    churn_min: S_tmin, the least sigma at which it is.
    churn_max: S_tmax, the largest, 0 for any.
    churn_noise: S_noise, of the added noise, 0 for 1.

  Raises:
    ValueError: a negative number, or one that has no effect without churn.
  """
  fields = {'churn_min': churn_min, 'churn_max': churn_max, 'churn_noise': churn_noise}
  for name, value in ({'churn': churn} | fields).items():
    if value < 0.0:
      raise ValueError(f'sampler.{name}={value} must not be negative')
    if value and not churn:
      raise ValueError(f'sampler.{name}={value} has no effect without sampler.churn')

  def rows(path: Path, times: np.ndarray) -> Row:
    now, end = pairs(path, times)
    churned = (churn_min <= now.sigma) & (now.sigma <= (churn_max or np.inf))
    gamma = np.where(churned, min(churn / len(times), np.sqrt(2.0) - 1.0), 0.0)
    start = levels(path, path.time(now.sigma * (1.0 + gamma)))
    added = start.s * np.sqrt(1.0 - 1.0 / (1.0 + gamma) ** 2) * (churn_noise or 1.0)
    drop = end.a * (end.sigma - start.sigma)
    return Row(start, end, start.a / now.a, added, end.a / start.a, drop)

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    start, end = row.start, row.end
    x = state.x
    if churn:
      x = row.scale * x + row.added * jax.random.normal(key, x.shape)
    x_0 = denoise(x, start.t)
    slope = (x - start.a * x_0) / start.s
    there = end.a * x_0 + end.s * slope  # Euler's step
    x_0 = denoise(there, end.t)
    slope = 0.5 * (slope + (there - end.a * x_0) / end.s)
    return State(row.from_x * x + row.drop * slope, x_0)

  return Sampler(rows, step, evaluations=2)
