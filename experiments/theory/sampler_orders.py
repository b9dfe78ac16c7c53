"""Samplers converge at the orders that their papers claim

The error in the deviation of Gaussian samples falls as N^-k in the number of steps: k = 1 for Euler
and Maruyama's, ancestral and DDIM steps, 2 for Heun's (Karras et al. 2022), DPM-Solver++(2S) and
(2M) (Lu et al. 2022 DPM-Solver++, sec. 4; 2M takes one evaluation a step, the other two take two),
3 for DPM-Solver-3 (Lu et al. 2022 DPM-Solver, thm. 3.2), which takes three, and UniPC (Zhao et al.
2023, sec. 3), which takes one. With Gaussian data every step is linear, so that the
deviation is followed without any randomness, from sigma = 10 to 0.1 on steps even in log-SNR, on
the VP path and on EDM's. On one such grid all but Euler and Maruyama's steps are the same map of
x_t / a whatever the path, and their orders must be equal on both.
"""

from typing import Any

import jax
import numpy as np

from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion.grids import GRIDS
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers import (
  ancestral,
  ddim,
  dpm_solver_2m,
  dpm_solver_2s,
  dpm_solver_3s,
  euler_maruyama,
  heun,
  unipc,
)
from jaxgen.objectives.diffusion.samplers.base import Sampler
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import slope

C = 0.6162  # the deviation of the data
RANDOM = {'euler_maruyama': euler_maruyama.sampler(), 'ancestral': ancestral.sampler()}
ORDERS = {
  'euler_maruyama': 1,
  'ancestral': 1,
  'ddim': 1,
  'heun': 2,
  'dpm_solver_2m': 2,
  'dpm_solver_2s': 2,
  'dpm_solver_3s': 3,
  'unipc': 3,
}
SAMPLERS = RANDOM | {
  'ddim': ddim.sampler(),
  'heun': heun.sampler(),
  'dpm_solver_2m': dpm_solver_2m.sampler(),
  'dpm_solver_2s': dpm_solver_2s.sampler(),
  'dpm_solver_3s': dpm_solver_3s.sampler(),
  'unipc': unipc.sampler(),
}
PATHS = {'VP': paths.vp(), 'EDM': paths.edm()}


def gain(path: Path, t: Any) -> Any:
  """E[x_0 | x_t] / x_t of data N(0, C^2)."""
  a, s = path.a(t), path.s(t)
  return a * C**2 / (a**2 * C**2 + s**2)


def each_row(rows: Any) -> list[Any]:
  columns, tree = jax.tree.flatten(rows)
  return [tree.unflatten(row) for row in zip(*columns, strict=True)]


def spread(name: str, path: Path, times: np.ndarray) -> float:
  """The deviation in the end, of a start that has the right one."""
  sampler: Sampler = SAMPLERS[name]
  rows, start = each_row(sampler.rows(path, times)), deviation(path, times[0])
  if name not in RANDOM:  # what x is multiplied by
    state = sampler.start(np.float64(1.0))
    for row in rows:
      state = sampler.step(lambda x, t: gain(path, t) * x, state, row, None)
    return float(state.x) * start
  variance = start**2
  for row in rows:
    slope_of_x = row.from_x_0 * gain(path, row.t) + row.from_x_t
    variance = slope_of_x**2 * variance + row.deviation**2
  return float(np.sqrt(variance))


def deviation(path: Path, t: np.ndarray) -> float:
  """Of x_t."""
  return float(np.hypot(path.a(t) * C, path.s(t)))


def steps(order: int, full: bool) -> np.ndarray:
  """How many, of each grid: fewer of a high order, whose error rounding would soon hide."""
  return (100 if order == 3 else 300) * 2 ** np.arange(5 if full else 3)


def claim(full: bool) -> Claim:
  rows, lines = [], {}
  for kind, path in PATHS.items() if full else [('VP', PATHS['VP'])]:
    for name, order in ORDERS.items():
      counts = steps(order, full)
      grids = [GRIDS['log_snr'](path, n + 1, 0.1, 10.0) for n in counts]
      exact = deviation(path, grids[0][-1])
      errors = np.array([abs(spread(name, path, times) - exact) for times in grids])
      note = 'the next order bends it'
      rows.append(
        Row(f'order of {name}, {kind}', order, -slope(counts, errors).value, 0.0, 0.05, note)
      )
      if kind == 'VP':
        lines[name] = counts, errors
  sketch = Sketch(
    'steps',
    'error of the deviation, VP path',
    {n: (c, e[-1] * (c[-1] / c) ** ORDERS[n]) for n, (c, e) in lines.items()},
    lines,
    log='xy',
  )
  return Claim(rows, sketch)
