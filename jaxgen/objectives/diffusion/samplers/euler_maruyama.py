"""The reverse equation by Euler and Maruyama (Song et al. 2021, eq. 6 and sec. 4.1)."""

import jax
import numpy as np

from jaxgen.objectives.base import Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.process import Reverse
from jaxgen.objectives.diffusion.samplers.base import Denoise, Sampler, State, pairs


def sampler() -> Sampler:
  """x_u = x - h (f x - g^2 score) + g sqrt(h) eps with h = t - u, score = (a x_0 - x) / s^2."""

  def rows(path: Path, times: np.ndarray) -> Reverse:
    now, then = pairs(path, times)
    h, f, g2 = now.t - then.t, path.f(now.t), path.g2(now.t)
    pull = h * g2 / now.s**2
    return Reverse(now.t, pull * now.a, 1.0 - h * f - pull, np.sqrt(h * g2))

  def step(denoise: Denoise, state: State, row: Reverse, key: Key) -> State:
    x_0 = denoise(state.x, row.t)
    x = row.from_x_0 * x_0 + row.from_x_t * state.x
    return State(x + row.deviation * jax.random.normal(key, x.shape), x_0)

  return Sampler(rows, step)
