"""Ancestral steps, each from where Langevin dynamics has corrected x (Song et al. 2021, app. G)."""

from typing import NamedTuple

import jax
import numpy as np

from jaxgen.objectives.base import Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.process import Reverse
from jaxgen.objectives.diffusion.samplers import ancestral
from jaxgen.objectives.diffusion.samplers.base import Denoise, Sampler, State, levels


class Row(NamedTuple):
  """The signal where x is, the noise that the corrector adds, and the predictor's step."""

  a: np.ndarray
  deviation: np.ndarray
  onward: Reverse


def sampler(snr: float = 0.16) -> Sampler:
  """At each level one step of Langevin dynamics, then one of ancestral sampling.

  Args:
    snr: r, of the corrector, whose step is 2 (r |z| / |score|)^2 (alg. 4). The paper's code takes
      means of both norms over a batch; here they are those of pure noise, sqrt(d) and sqrt(d) / s,
      so that an image's way is its own.

  Raises:
    ValueError: it is not positive, or so large that the corrector does not settle.
  """
  rate = 2.0 * snr**2
  if not 0.0 < snr < 1.0:
    raise ValueError(f'sampler.snr={snr} must lie between 0 and 1; the paper takes 0.16')
  predictor = ancestral.sampler()

  def rows(path: Path, times: np.ndarray) -> Row:
    now = levels(path, times[:-1])
    return Row(now.a, np.sqrt(2.0 * rate) * now.s, predictor.rows(path, times))

  def step(denoise: Denoise, state: State, row: Row, key: Key) -> State:
    x = state.x
    noise = jax.random.normal(jax.random.fold_in(key, 0), x.shape)
    x = x + rate * (row.a * denoise(x, row.onward.t) - x) + row.deviation * noise
    return predictor.step(denoise, State(x, state.x_0), row.onward, jax.random.fold_in(key, 1))

  return Sampler(rows, step, evaluations=2)
