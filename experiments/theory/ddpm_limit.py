"""DDPM's chain is the VP equation in the limit of many steps

With beta_t = beta(t / T) / T the chain tends to dx = -beta x / 2 dt + sqrt(beta) dw (Song et al.
2021, app. B). Expanding log(1 - beta) shows how fast: log alpha_bar_T = -int beta - (1 / 2T) int
beta^2 + O(T^-2), with the beta of Ho et al. from 0.1 to 20 so that the second integral is (b0^2 +
b0 b1 + b1^2) / 3 = 134.0. Its ancestral sampler, posterior mean and variance, tends to the reverse
equation: dx = [-beta x / 2 - beta grad log p] dt + sqrt(beta) dw, with error in the samples'
deviation that falls as 1 / T.
"""

import numpy as np

from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion import process
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import slope

B0, B1, C = 0.1, 20.0, 0.6162  # C: deviation of Gaussian data


def log_alpha_bar(t: float) -> float:
  """-int_0^t beta of the equation."""
  return -B0 * t - 0.5 * (B1 - B0) * t**2


def spread(timesteps: int, last: float) -> float:
  """Deviation at time `last` of ancestral sampling with the exact denoiser of N(0, C^2)."""
  alpha_bar = process.alpha_bars('linear', timesteps)
  steps = process.reverse_steps(alpha_bar, np.arange(timesteps + 1))
  variance = alpha_bar[-1] * C**2 + 1.0 - alpha_bar[-1]
  for t, from_x_0, from_x_t, deviation in zip(*steps, strict=True):
    if t <= round(last * timesteps):
      break
    a = np.sqrt(alpha_bar[t])
    gain = a * C**2 / (a**2 * C**2 + 1.0 - a**2)
    variance = (from_x_0 * gain + from_x_t) ** 2 * variance + deviation**2
  return float(np.sqrt(variance))


def reverse(path: paths.Path) -> list[Row]:
  """A step of the ancestral sampler against the reverse equation."""
  timesteps, t = 1_000_000, 300_000
  steps = process.reverse_steps(process.alpha_bars('linear', timesteps), np.arange(t + 1))
  beta = B0 + (B1 - B0) * t / timesteps
  a, s2 = path.a(t / timesteps), path.s(t / timesteps) ** 2
  x, x_0 = 0.7, -0.4  # any state, and what is expected of it
  drift = -0.5 * beta * x - beta * (a * x_0 - x) / s2
  found = (x - steps.from_x_0[0] * x_0 - steps.from_x_t[0] * x) * timesteps
  noise, note = steps.deviation[0] ** 2 * timesteps, 'of order 1 / T'
  return [
    Row('reverse drift at t = 0.3, T = 10^6', drift, found, 0.0, 1e-5, note),
    Row('squared noise a unit of time', beta, noise, 0.0, 1e-4, note),
  ]


def claim(full: bool) -> Claim:
  path, rows = paths.vp(), []
  for t in (0.25, 1.0):
    known = log_alpha_bar(t)
    rows.append(Row(f'log a^2 of the path, t = {t}', known, 2.0 * np.log(path.a(t)), 0.0, 1e-12))
    found = np.log(process.alpha_bars('linear', 1_000_000)[round(t * 1e6)])
    tolerance = 2.0 * (B0**2 + B0 * B1 + B1**2) / 6.0 / 1_000_000
    note = 'of order 1 / T, as below'
    rows.append(Row(f'log alpha_bar, t = {t}, T = 10^6', known, found, 0.0, tolerance, note))
  for timesteps in (1_000, 100_000):
    found = np.log(process.alpha_bars('linear', timesteps)[-1]) - log_alpha_bar(1.0)
    known = -(B0**2 + B0 * B1 + B1**2) / 6.0
    rows.append(
      Row(
        f'T (log alpha_bar_T + int beta), T = {timesteps:,}',
        known,
        timesteps * found,
        0.0,
        2_000.0 / timesteps,
        'int beta^3 / 3T and less',
      )
    )
  rows += reverse(path)
  counts = np.array([250, 500, 1000, 2000, 4000, 8000] if full else [250, 500, 1000, 2000])
  exact = np.sqrt(path.a(0.1) ** 2 * C**2 + path.s(0.1) ** 2)
  errors = np.array([exact - spread(int(n), 0.1) for n in counts])
  rows.append(
    Row(
      'slope of the error of the deviation in T, ancestral to t = 0.1',
      -1.0,
      slope(counts, np.abs(errors)).value,
      0.0,
      0.02,
      'the next order bends it',
    )
  )
  sketch = Sketch(
    'T',
    'error of the deviation',
    {'slope -1': (counts, np.abs(errors[-1]) * counts[-1] / counts)},
    {'ancestral': (counts, np.abs(errors))},
    log='xy',
  )
  return Claim(rows, sketch)
