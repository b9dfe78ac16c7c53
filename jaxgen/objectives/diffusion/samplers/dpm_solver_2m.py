"""DPM-Solver++(2M), a multistep method of order 2 (Lu et al. 2022 DPM-Solver++, alg. 2).

Symbols: h the growth of lambda = log(a / s) in a step. One network evaluation a step.
"""

from typing import NamedTuple

import numpy as np

from jaxgen.objectives.base import Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise, Sampler, State, pairs


class Row(NamedTuple):
  """x_u = from_x x + from_x_0 (x_0 + momentum (x_0 - the last x_0))."""

  t: np.ndarray
  from_x: np.ndarray
  from_x_0: np.ndarray
  momentum: np.ndarray


def sampler() -> Sampler:
  """Extrapolates x_0 from the last two."""

  def rows(path: Path, times: np.ndarray) -> Row:
    now, then = pairs(path, times)
    h = np.log(now.sigma / then.sigma)
    momentum = np.concatenate([[0.0], h[1:] / (2.0 * h[:-1])])  # the first step has order 1
    return Row(now.t, then.s / now.s, -then.a * np.expm1(-h), momentum)

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    del key
    x_0 = denoise(state.x, row.t)
    ahead = x_0 + row.momentum * (x_0 - state.x_0)
    return State(row.from_x * state.x + row.from_x_0 * ahead, x_0)

  return Sampler(rows, step)
