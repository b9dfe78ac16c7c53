"""Annealed Langevin dynamics (Song & Ermon 2019, alg. 1; 2020, alg. 1), on any path.

A step size here is that of the papers' code, eta in x + eta score + sqrt(2 eta) eps; the first
paper's formula has twice that as alpha.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.base import Image, Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise, Sampler, State, pairs


class Row(NamedTuple):
  """The level that a step goes to: x -> scale x, then x + rate (a x_0 - x) + deviation eps."""

  t: np.ndarray
  a: np.ndarray
  scale: np.ndarray
  rate: np.ndarray
  deviation: np.ndarray


def sampler(inner: int = 5, rate: float = 0.1) -> Sampler:
  """At each level of noise, a few steps of Langevin dynamics towards its law.

  Args:
    inner: T, their number.
    rate: eta / s^2, the share of the noise seen in x that each takes away.

  Raises:
    ValueError: no steps, or a rate at which they do not settle.
  """
  if inner < 1 or not 0.0 < rate < 2.0:
    raise ValueError(
      f'sampler.inner={inner} must be at least 1 and sampler.rate={rate} lie between 0 and 2'
    )

  def rows(path: Path, times: np.ndarray) -> Row:
    now, then = pairs(path, times)
    ones = np.ones(len(times) - 1)
    return Row(then.t, then.a, then.a / now.a, rate * ones, np.sqrt(2.0 * rate) * then.s)

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    def settle(x: Image, i: jax.Array) -> tuple[Image, None]:
      noise = jax.random.normal(jax.random.fold_in(key, i), x.shape)
      x = x + row.rate * (row.a * denoise(x, row.t) - x) + row.deviation * noise
      return x, None

    x, _ = jax.lax.scan(settle, row.scale * state.x, jnp.arange(inner))
    return State(x, state.x_0)

  return Sampler(rows, step, evaluations=inner)
