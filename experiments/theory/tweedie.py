"""The score is the mean of what the noise hides (Tweedie's formula)

Of x = a x_0 + s eps, E[x_0 | x] = (x + s^2 grad log p(x)) / a, and Cov[x_0 | x] = s^2 / a^2 (I +
s^2 grad^2 log p(x)) (Robbins 1956; Efron 2011). So a denoiser is a score model. Predicted from
automatic derivatives of log p of a mixture in the plane on the VP path; measured without any
derivative: draws of x_0, weighted by the density N(x; a x_0, s^2 I) of the x that is seen.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion import process
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean
from jaxgen.theory.mixtures import PAIR, TRIPLE, Mixture, log_density

PATH = paths.vp()
TIMES = [0.1, 0.3, 0.6]
X = np.array([0.3, 0.4])


@jax.jit
def tweedie(mixture: Mixture, a: float, s: float, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """E[x_0 | x] and Cov[x_0 | x], (d,) and (d, d)."""
  score = jax.grad(log_density, 3)(mixture, a, s, x)
  curvature = jax.hessian(log_density, 3)(mixture, a, s, x)
  noise = -s * score  # whose score is the project's -noise / s
  expected = process.predict_x_0(x, noise, a, s)
  return expected, (s / a) ** 2 * (jnp.eye(x.size) + s**2 * curvature)


def weighted(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
  """A mean under weights that do not add up to one, with its standard error (delta method)."""
  found = float(weights @ values / weights.sum())
  return found, mean(weights * (values - found) / weights.mean()).error


def claim(full: bool) -> Claim:
  x_0 = TRIPLE.draw(4_000_000 if full else 200_000, np.random.default_rng(0))
  rows = []
  for t in TIMES:
    a, s = PATH.a(t), PATH.s(t)
    expected, covariance = tweedie(TRIPLE, a, s, jnp.asarray(X))
    weights = np.exp(-0.5 * np.sum((X[None] - a * x_0) ** 2, axis=1) / s**2)
    away = x_0 - np.asarray(expected)[None]
    for i in range(2):
      found = weighted(x_0[:, i], weights)
      rows.append(Row(f'E[x_0 | x], coordinate {i + 1}, t = {t}', expected[i], *found))
    for i, j in ((0, 0), (0, 1)):
      found = weighted(away[:, i] * away[:, j], weights)
      rows.append(Row(f'Cov[x_0 | x], entry {i + 1}{j + 1}, t = {t}', covariance[i, j], *found))
  line = np.linspace(-1.5, 1.5, 61)
  draws = PAIR.draw(20_000, np.random.default_rng(1))[:, 0]
  predicted, measured = {}, {}
  for t in TIMES:
    a, s = PATH.a(t), PATH.s(t)
    many = jax.vmap(tweedie, (None, None, None, 0))(PAIR, a, s, jnp.asarray(line[:, None]))[0]
    name = f't = {t}'
    predicted[name] = (line, np.asarray(many)[:, 0])
    shown = line[10:51:5]
    measured[name] = (
      shown,
      [weighted(draws, np.exp(-0.5 * (x - a * draws) ** 2 / s**2))[0] for x in shown],
    )
  return Claim(rows, Sketch('x', 'E[x_0 | x] of two parts on a line', predicted, measured))
