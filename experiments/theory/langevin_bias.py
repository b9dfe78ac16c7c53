"""Langevin dynamics settles beside its target, by half a step's worth

x + eta score + sqrt(2 eta) eps with the score of N(0, k^2) has the stationary variance k^2 / (1 -
eta / 2 k^2), the fixed point of v = (1 - eta / k^2)^2 v + 2 eta, and forgets its start at the rate
1 - eta / k^2 a step. So at W2 = k ((1 - eta / 2 k^2)^-1/2 - 1) = eta / 4k + ... from the target the
unadjusted chain is biased at first order in eta (Dalalyan 2017; Wibisono 2018, example 2). Here k^2
= c^2 + s^2, of data of deviation c under noise s.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion.samplers import langevin
from jaxgen.objectives.diffusion.samplers.base import State
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean, variance

C, S = 0.6, 1.0
K2 = C**2 + S**2


def settled(rate: float, steps: int, count: int, start: float, seed: int) -> np.ndarray:
  """x (count,) after so many steps at one level of noise."""
  path = paths.ve()
  times = path.time(np.array([S * (1.0 + 1e-9), S]))
  sampler = langevin.sampler(inner=steps, rate=rate)
  row = jax.tree.map(lambda column: column[0], sampler.rows(path, times))

  def expected(x: Any, t: Any) -> Any:
    return C**2 / (C**2 + path.s(t) ** 2) * x

  def one(key: jax.Array) -> jax.Array:
    return sampler.step(expected, State(jnp.full(1, start), jnp.zeros(1)), row, key).x[0]

  return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), count)))


def claim(full: bool) -> Claim:
  count, rows = 400_000 if full else 20_000, []
  rates, bias = [0.05, 0.2, 0.5, 1.0] if full else [0.2, 0.5, 1.0], {}
  for seed, rate in enumerate(rates):
    eta = rate * S**2
    x = settled(rate, round(8.0 * K2 / eta), count, 0.0, seed)
    found = variance(x)
    rows.append(
      Row(f'stationary variance, eta = {eta}', K2 / (1 - eta / (2 * K2)), *found, tolerance=1e-6)
    )
    bias[eta] = np.sqrt(found.value) - np.sqrt(K2)
  for steps in (5, 20) if full else (20,):
    x = settled(0.1, steps, count, 3.0, 10 + steps)
    rows.append(
      Row(
        f'mean after {steps} steps from 3, eta = 0.1', 3 * (1 - 0.1 / K2) ** steps, *mean(x), 1e-6
      )
    )
  line = np.linspace(0.0, 1.1, 45)
  sketch = Sketch(
    'eta',
    'W2 to the target',
    {
      'exact': (line, np.sqrt(K2) * ((1 - line / (2 * K2)) ** -0.5 - 1)),
      'eta / 4k': (line, line / (4 * np.sqrt(K2))),
    },
    {'exact': (list(bias), list(bias.values()))},
  )
  return Claim(rows, sketch)
