"""DPM-Solver++(2S), a singlestep method of order 2 (Lu et al. 2022 DPM-Solver++, alg. 1, r = 1/2).

Symbols: h the growth of lambda = log(a / s) in a step, whose middle is there.
"""

from typing import NamedTuple

import numpy as np

from jaxgen.objectives.base import Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import (
  Denoise,
  Sampler,
  State,
  exponential,
  levels,
  pairs,
)


class Row(NamedTuple):
  """x_m = half[0] x + half[1] x_0(x, t), x_u = whole[0] x + whole[1] x_0(x_m, m)."""

  t: np.ndarray
  m: np.ndarray
  half: tuple[np.ndarray, np.ndarray]
  whole: tuple[np.ndarray, np.ndarray]


def sampler() -> Sampler:
  """Takes for the whole step the x_0 seen in its middle."""

  def rows(path: Path, times: np.ndarray) -> Row:
    now, then = pairs(path, times)
    middle = levels(path, path.time(np.sqrt(now.sigma * then.sigma)))
    return Row(now.t, middle.t, exponential(now, middle), exponential(now, then))

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    del key
    x = state.x
    x_m = row.half[0] * x + row.half[1] * denoise(x, row.t)
    x_0 = denoise(x_m, row.m)
    return State(row.whole[0] * x + row.whole[1] * x_0, x_0)

  return Sampler(rows, step, evaluations=2)
