"""The probability flow in steps that follow its error (Song et al. 2021, sec. 4.3, RK45).

Along it d(x / a) / d lambda = x_0 - x / a with lambda = log(a / s), by the method of Dormand and
Prince (1980) of order 5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.ode import odeint
from jax.tree_util import Partial

from jaxgen.objectives.base import Image, Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise, Levels, Sampler, State, pairs


class Row(NamedTuple):
  """Where a step starts and ends, and the path between."""

  now: Levels
  then: Levels
  time: Partial
  a: Partial


def sampler(tolerance: float = 1e-5) -> Sampler:
  """Goes from a time to the next in as many steps as each image needs.

  How many network evaluations that takes is known only afterwards; with sampler.steps = 2 the grid
  asks for no more than the way needs.

  Args:
    tolerance: of the error of a step, relative and absolute; the paper takes 1e-5.

  Raises:
    ValueError: it is not positive.
  """
  if tolerance <= 0.0:
    raise ValueError(f'sampler.tolerance={tolerance} must be positive; the paper takes 1e-5')

  def rows(path: Path, times: np.ndarray) -> Row:
    return Row(*pairs(path, times), Partial(path.time), Partial(path.a))

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    del key

    def slope(z: Image, log_snr: jax.Array) -> Image:
      t = row.time(jnp.exp(-log_snr))
      return denoise(row.a(t) * z, t) - z

    ends = -jnp.log(jnp.stack([row.now.sigma, row.then.sigma]))
    z = odeint(slope, state.x / row.now.a, ends, rtol=tolerance, atol=tolerance)[-1]
    return State(row.then.a * z, state.x_0)

  return Sampler(rows, step, evaluations=None)
