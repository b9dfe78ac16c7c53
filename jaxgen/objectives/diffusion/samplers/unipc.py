"""UniPC, a multistep predictor and corrector of order 3 (Zhao et al. 2023, sec. 3, for x_0, p = 2).

Symbols: h the growth of lambda = log(a / s) in a step, g that in the step before;
x_u = (s_u / s) x + a_u int_0^h exp(tau - h) x_0(tau) d tau. The predictor follows the line through
the last two x_0, as DPM-Solver++(2M) does; once x_0 has been seen at u, the corrector follows the
parabola through that one too. One network evaluation a step, as it serves the next step as well.
"""

from typing import NamedTuple

import numpy as np

from jaxgen.objectives.base import Image, Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise, Sampler, State, exponential, pairs


class Row(NamedTuple):
  """x is corrected to base + correction x_0, and goes on by from_x x and what x_0 and the last add.

  Weights of both are those of the line (predicted) and those of the parabola (base), which lacks
  that of the x_0 to come.
  """

  t: np.ndarray
  correction: np.ndarray
  from_x: np.ndarray
  predicted: tuple[np.ndarray, np.ndarray]
  base: tuple[np.ndarray, np.ndarray]


def before(values: np.ndarray, first: float) -> np.ndarray:
  """Each step's value one step later."""
  return np.append(first, values[:-1])


def start(x: Image) -> State:
  """Beside x, an x_0 that has no weight and the base to correct, which is x itself."""
  return State(x, (0.0 * x, x))


def sampler() -> Sampler:
  """Predicts x, and corrects it by the x_0 that is seen there."""

  def rows(path: Path, times: np.ndarray) -> Row:
    now, then = pairs(path, times)
    h = np.log(now.sigma / then.sigma)
    g = before(h, np.inf)  # the first step has no step before: its lines and parabolas are simpler
    from_x, constant = exponential(now, then)
    linear = then.a * (h + np.expm1(-h))  # of tau under the integral, as `constant` is of 1
    square = then.a * h**2 - 2.0 * linear
    momentum = 0.5 * constant * h / g
    ahead = np.where(np.isinf(g), linear / h, (square / g + linear) / (h * (1.0 + h / g)))
    behind = (square - h * linear) / (g * (g + h))
    return Row(
      now.t,
      before(ahead, 0.0),
      from_x,
      (constant + momentum, -momentum),
      (constant - ahead - behind, behind),
    )

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    del key
    x_0 = denoise(state.x, row.t)
    last, base = state.x_0
    x = row.from_x * (base + row.correction * x_0)
    predicted, base = (x + new * x_0 + old * last for new, old in (row.predicted, row.base))
    return State(predicted, (x_0, base))

  return Sampler(rows, step, start=start)
