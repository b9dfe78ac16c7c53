"""Denoising diffusion implicit models (Song et al. 2021 DDIM, eq. 12 and 16), on any path.

With eta = 0 it is Euler's method in sigma for the probability flow of x / a (eq. 14), and
DPM-Solver++ of order 1; with eta = 1, ancestral sampling.
"""

import jax
import numpy as np

from jaxgen.objectives.base import Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.process import Reverse
from jaxgen.objectives.diffusion.samplers.base import Denoise, Sampler, State, pairs


def sampler(eta: float = 0.0) -> Sampler:
  """Keeps of the noise seen in x_t all but a part, which it draws anew.

  Args:
    eta: 0 draws none, 1 as much as the posterior q(x_u | x_t, x_0) has.

  Raises:
    ValueError: eta is not between 0 and 1.
  """
  if not 0.0 <= eta <= 1.0:
    raise ValueError(f'sampler.eta={eta} must lie between 0 and 1')

  def rows(path: Path, times: np.ndarray) -> Reverse:
    now, then = pairs(path, times)
    share = eta**2 * (1.0 - (then.sigma / now.sigma) ** 2)  # of the variance at u, drawn anew
    direct = then.s * np.sqrt(1.0 - share) / now.s
    return Reverse(now.t, then.a - direct * now.a, direct, then.s * np.sqrt(share))

  def step(denoise: Denoise, state: State, row: Reverse, key: Key) -> State:
    x_0 = denoise(state.x, row.t)
    x = row.from_x_0 * x_0 + row.from_x_t * state.x
    if eta:
      x = x + row.deviation * jax.random.normal(key, x.shape)
    return State(x, x_0)

  return Sampler(rows, step)
