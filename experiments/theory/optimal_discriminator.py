"""The best critic is a function of p / q, and of equal laws V is -2 log 2

Against a fixed generator with density q, data of density p and a critic that can be any function,
the critic's loss is least, point by point, at f = log p / q of the original GAN (Goodfellow et al.
2014, prop. 1: D = sigmoid f = p / (p + q)), (b p + a q) / (p + q) of least squares (Mao et al.
2017, eq. 5), sign(p - q) of hinge (Lim & Ye 2017), and F'(p / q) seen through T of an f-divergence
(Nowozin et al. 2016, eq. 5). Where p = q, D = 1/2 and V = -2 log 2 (theorem 1).

A critic with k free slopes that is fitted to N images of each kind finds differences where there
are none: by Wilks' theorem its own V exceeds -2 log 2 by k / 2N on average.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize_scalar

from jaxgen.objectives.adversarial.losses import LOSSES, value
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean

P = 0.75  # p / (p + q) at the point that is looked at: p / q = 3
BEST = {  # f there
  'minimax': np.log(3.0),
  'non_saturating': np.log(3.0),
  'least_squares': 0.75,  # a = 0, b = 1
  'hinge': 1.0,
  'kullback_leibler': 1.0 + np.log(3.0),  # F' = 1 + log u, T(v) = v
  'reverse_kullback_leibler': np.log(3.0),  # F' = -1 / u, T(v) = -exp(-v)
  'pearson': 4.0,  # F' = 2 (u - 1), T(v) = v
  'jensen_shannon': np.log(3.0),
}
MEAN, DEVIATION = 0.5, 1.3  # of q; p is N(0, 1)
KNOWN = [  # log p / q = sum_i KNOWN_i x^i
  0.5 * (MEAN / DEVIATION) ** 2 + np.log(DEVIATION),
  -MEAN / DEVIATION**2,
  0.5 / DEVIATION**2 - 0.5,
]


def best_output(loss: str) -> float:
  """The f at which the critic's loss at a point is least; r and g enter it in separate terms."""
  critic = LOSSES[loss].critic
  at = jax.jit(lambda f: P * critic(f, 0.0) + (1.0 - P) * critic(0.0, f))
  return minimize_scalar(
    lambda f: float(at(f)), bounds=(-9.0, 9.0), method='bounded', options={'xatol': 1e-9}
  ).x


def fit(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The quadratic logit of the largest V on samples (N,), by Newton's method, and that V."""

  def loss(w: jax.Array) -> jax.Array:
    return jnp.mean(
      LOSSES['minimax'].critic(jnp.polyval(w[::-1], real), jnp.polyval(w[::-1], fake))
    )

  def newton(w: jax.Array, _: None) -> tuple[jax.Array, None]:
    return w - jnp.linalg.solve(jax.hessian(loss)(w), jax.grad(loss)(w)), None

  w, _ = jax.lax.scan(newton, jnp.zeros(3), None, 10)
  return w, jnp.mean(value(jnp.polyval(w[::-1], real), jnp.polyval(w[::-1], fake)))


def claim(full: bool) -> Claim:
  rows = [
    Row(f'f where p / q = 3, {loss}', best, best_output(loss), tolerance=1e-6)
    for loss, best in BEST.items()
  ]
  seeds, count = (100, 20_000) if full else (30, 4_000)
  draws = np.random.default_rng(0).normal(size=(2, seeds, count))
  many = jax.jit(lambda pairs: jax.lax.map(lambda pair: fit(*pair), pairs))
  found, _ = many((draws[0], MEAN + DEVIATION * draws[1]))
  for power, known in enumerate(KNOWN):
    rows.append(Row(f'coefficient of x^{power} in the trained f', known, *mean(found[:, power])))
  seeds, count = (4_000, 500) if full else (400, 200)
  draws = np.random.default_rng(1).normal(size=(2, seeds, count))
  _, best = many((draws[0], draws[1]))
  rows.append(Row('V at f = 0, p = q', -2.0 * np.log(2.0), float(value(0.0, 0.0)), tolerance=1e-12))
  rows.append(
    Row(
      f'N (V + 2 log 2) of a critic fitted to N = {count} images, p = q, k = 2',
      1.0,
      *mean(count * (np.asarray(best) + 2.0 * np.log(2.0))),
      tolerance=5.0 / count,
      note='of the next order in 1 / N',
    )
  )
  x = np.linspace(-3.0, 3.0, 61)
  sketch = Sketch(
    'x',
    'f',
    {'log p / q': (x, np.polyval(KNOWN[::-1], x))},
    {'log p / q': (x[::4], np.polyval(np.asarray(found)[0, ::-1], x[::4]))},
  )
  return Claim(rows, sketch)
