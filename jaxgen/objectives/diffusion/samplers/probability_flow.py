"""The probability flow in the path's own time, by Euler or Heun (Song et al. 2021, eq. 13).

dx/dt = f x - g^2 score / 2 = a' x_0 + s' eps, with the x_0 and the eps that are seen in x. On the
straight path this is the flow that its papers follow.
"""

from typing import NamedTuple

import numpy as np

from jaxgen.objectives.base import Image, Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise, Sampler, State


class Slope(NamedTuple):
  """dx/dt = from_x_0 x_0 + from_x x at t."""

  t: np.ndarray
  from_x_0: np.ndarray
  from_x: np.ndarray


class Row(NamedTuple):
  """From a slope to the next, h of time before."""

  h: np.ndarray
  now: Slope
  then: Slope


def slope(path: Path, t: np.ndarray) -> Slope:
  """The flow's coefficients at some times."""
  from_x = path.s_dot(t) / path.s(t)
  return Slope(t, path.a_dot(t) - from_x * path.a(t), from_x)


def sampler(order: int = 2) -> Sampler:
  """Follows the flow.

  Args:
    order: 1 for Euler's method, 2 for Heun's.

  Raises:
    ValueError: another one.
  """
  if order not in (1, 2):
    raise ValueError(f'sampler.order={order}; choose 1 for Euler or 2 for Heun')

  def rows(path: Path, times: np.ndarray) -> Row:
    return Row(times[:-1] - times[1:], slope(path, times[:-1]), slope(path, times[1:]))

  def rate(x: Image, x_0: Image, at: Slope) -> Image:
    return at.from_x_0 * x_0 + at.from_x * x

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    del key
    x = state.x
    x_0 = denoise(x, row.now.t)
    first = rate(x, x_0, row.now)
    there = x - row.h * first
    if order == 1:
      return State(there, x_0)
    x_0 = denoise(there, row.then.t)
    return State(x - 0.5 * row.h * (first + rate(there, x_0, row.then)), x_0)

  return Sampler(rows, step, evaluations=order)
