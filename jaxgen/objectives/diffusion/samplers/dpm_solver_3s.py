"""DPM-Solver-3 for x_0, a singlestep method of order 3 (Lu et al. 2022 DPM-Solver, alg. 2).

Symbols: h the growth of lambda = log(a / s) in a step, seen at a third and at two thirds of it.
x_u = (s_u / s) x + a_u int_0^h exp(tau - h) x_0(tau) d tau, with x_0 a line in tau.
"""

from typing import NamedTuple

import numpy as np

from jaxgen.objectives.base import Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import (
  Denoise,
  Levels,
  Sampler,
  State,
  exponential,
  levels,
  pairs,
)

THIRD = 1.0 / 3.0


class Row(NamedTuple):
  """x_v = from_x x + from_x_0 x_0 + bend (another x_0 - x_0), for v a third, two and the whole."""

  t: np.ndarray
  third: np.ndarray
  two_thirds: np.ndarray
  from_x: tuple[np.ndarray, np.ndarray, np.ndarray]
  from_x_0: tuple[np.ndarray, np.ndarray, np.ndarray]
  bend: tuple[np.ndarray, np.ndarray]  # of the second and of the last


def bend(now: Levels, then: Levels, seen: float) -> np.ndarray:
  """What the line's slope adds, where its second point lies at this part of the way."""
  h = np.log(now.sigma / then.sigma)
  return then.a / seen * (1.0 + np.expm1(-h) / h)


def sampler() -> Sampler:
  """Follows the line through the x_0 seen at the start and at two thirds of a step."""

  def rows(path: Path, times: np.ndarray) -> Row:
    now, u = pairs(path, times)
    ways = np.log(u.sigma / now.sigma)
    third, two = (levels(path, path.time(now.sigma * np.exp(r * ways))) for r in (THIRD, 2 * THIRD))
    kept, drawn = zip(*(exponential(now, then) for then in (third, two, u)), strict=True)
    return Row(now.t, third.t, two.t, kept, drawn, (bend(now, two, 0.5), bend(now, u, 2 * THIRD)))

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    del key
    x, x_0 = state.x, denoise(state.x, row.t)
    first, second, last = (k * x + d * x_0 for k, d in zip(row.from_x, row.from_x_0, strict=True))
    at_third = denoise(first, row.third)
    at_two = denoise(second + row.bend[0] * (at_third - x_0), row.two_thirds)
    return State(last + row.bend[1] * (at_two - x_0), at_two)

  return Sampler(rows, step, evaluations=3)
