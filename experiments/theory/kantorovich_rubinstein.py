"""W1 is the most that a 1-Lipschitz critic can tell apart

The least cost of moving p to q equals sup E_p f - E_q f over f with |f(x) - f(y)| <= |x - y|
(Kantorovich & Rubinstein 1958; Arjovsky et al. 2017, eq. 2); on a line it is the area between the
distribution functions. Predicted by linear programming over plans of transport; measured by another
programme over critics, whose objective is the project's loss.

A gradient penalty of weight lambda does not hold the slope at 1: of two points theta apart the best
slope is 1 + theta / 2 lambda, two-sided or one-sided, so that its estimate of W1 is too large by
that factor (by maximising theta s - lambda (s - 1)^2 over s). Clipping measures W1 in unknown
units.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog, minimize_scalar
from scipy.spatial.distance import cdist

from jaxgen.objectives.adversarial.constraints import PENALTIES
from jaxgen.objectives.adversarial.losses import LOSSES
from jaxgen.theory.claims import Claim, Row, Sketch


def cheapest_plan(cost: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
  """min <plan, cost> over plans with marginals p and q."""
  n = len(p)
  sums = np.concatenate([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
  return linprog(cost.ravel(), A_eq=sums, b_eq=np.concatenate([p, q])).fun


def best_critic(cost: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
  """max E_p f - E_q f over 1-Lipschitz f on the points, by the loss and its gradient in f."""

  def loss(f: jax.Array) -> jax.Array:
    return jnp.sum(jnp.outer(p, q) * LOSSES['wasserstein'].critic(f[:, None], f[None]))

  n = len(p)
  i, j = np.nonzero(~np.eye(n, dtype=bool))
  differences = np.zeros((len(i), n))
  differences[np.arange(len(i)), i], differences[np.arange(len(i)), j] = 1.0, -1.0
  found = linprog(
    np.asarray(jax.grad(loss)(jnp.zeros(n))),
    A_ub=differences,
    b_ub=cost[i, j],
    bounds=[(0.0, 0.0)] + [(None, None)] * (n - 1),
  )
  return -float(loss(jnp.asarray(found.x)))


def best_slope(constraint: str, theta: float, weight: float) -> float:
  """Of f(x) = s x under the WGAN loss with a penalty, data at theta and samples at 0."""
  penalty = PENALTIES[constraint](weight)

  @jax.jit
  def loss(s: jax.Array) -> jax.Array:
    f = lambda image: s * jnp.sum(image)  # noqa: E731
    real, fake = jnp.full((1, 1, 1), theta), jnp.zeros((1, 1, 1))
    return LOSSES['wasserstein'].critic(f(real), f(fake)) + penalty(
      f, real, fake, jax.random.key(0)
    )

  return minimize_scalar(
    lambda s: float(loss(s)), bounds=(0.0, 20.0), method='bounded', options={'xatol': 1e-8}
  ).x


def claim(full: bool) -> Claim:
  rows, generator = [], np.random.default_rng(0)
  for points in (8, 40) if full else (8, 16):
    x = generator.normal(size=(points, 2))
    p, q = generator.dirichlet(np.ones(points), 2)
    cost = cdist(x, x)
    rows.append(
      Row(
        f'W1 on {points} points of the plane',
        cheapest_plan(cost, p, q),
        best_critic(cost, p, q),
        0.0,
        1e-9,
      )
    )
  x = np.sort(generator.normal(size=12))
  p, q = generator.dirichlet(np.ones(12), 2)
  area = np.sum(np.abs(np.cumsum(p - q))[:-1] * np.diff(x))
  rows.append(
    Row(
      'W1 on 12 points of a line', area, best_critic(np.abs(x[:, None] - x[None]), p, q), 0.0, 1e-9
    )
  )
  thetas = [1.0, 5.0, 20.0]
  slopes = {
    c: [best_slope(c, t, 10.0) for t in thetas] for c in ('gradient_penalty', 'lipschitz_penalty')
  }
  for constraint, found in slopes.items():
    rows += [
      Row(f'slope with {constraint}, lambda = 10, theta = {t:g}', 1.0 + t / 20.0, s, 0.0, 1e-5)
      for t, s in zip(thetas, found, strict=True)
    ]
  line = np.linspace(0.0, 22.0, 23)
  sketch = Sketch(
    'theta',
    'estimate of W1',
    {'penalised': (line, line * (1 + line / 20)), 'W1': (line, line)},
    {
      'penalised': (
        thetas,
        [t * s for t, s in zip(thetas, slopes['gradient_penalty'], strict=True)],
      )
    },
  )
  return Claim(rows, sketch)
