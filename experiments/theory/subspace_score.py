"""On a subspace the score splits, and its normal part blows up

Of data x = A z, A'A = I_p, in R^D, grad log p_t(x) = A grad log p_t^LD(A'x) - (I - AA')x / h(t)
under dX = -X / 2 dt + dW, with h(t) = 1 - exp(-t): an on-support part, the score of z noised alone,
and one that points back to the subspace (Chen et al. 2023, lemma 1). The latter's E|.|^2 = (D - p)
/ h(t) grows without bound as t -> 0, where the former's stays near that of z: it dominates, by a
ratio that goes as 1 / h.

Predicted from p dimensions, by Tweedie's formula. Measured in D dimensions: automatic derivatives
of the log-density of x_t, by the dense covariances of the mixture's parts, without the split.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp

from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean
from jaxgen.theory.mixtures import TRIPLE, denoise, levels

AMBIENT, INTRINSIC = 10, 2
A = np.linalg.qr(np.random.default_rng(5).normal(size=(AMBIENT, INTRINSIC)))[0]


def dense_score(t: float, x: np.ndarray) -> np.ndarray:
  """grad log p_t at points (N, D)."""
  alpha, h = levels(t)
  covariances = [alpha**2 * c**2 * A @ A.T + h * np.eye(AMBIENT) for c in TRIPLE.deviations]
  roots, means = np.linalg.cholesky(np.stack(covariances)), alpha * TRIPLE.means @ A.T

  def log_density(x: jax.Array) -> jax.Array:
    logs = []
    for w, m, root in zip(TRIPLE.weights, means, roots, strict=True):
      white = solve_triangular(jnp.asarray(root), x - m, lower=True)
      logs.append(np.log(w) - 0.5 * jnp.sum(white**2) - np.log(np.diag(root)).sum())
    return logsumexp(jnp.stack(logs))

  return np.asarray(jax.jit(jax.vmap(jax.grad(log_density)))(x))


def split_score(t: float, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The parts on the support and orthogonal to it, (N, D) each, from p dimensions."""
  alpha, h = levels(t)
  z = x @ A
  expected = jax.jit(jax.vmap(lambda z: denoise(TRIPLE, alpha, np.sqrt(h), z)))(z)
  score = (alpha * np.asarray(expected) - z) / h
  return score @ A.T, -(x - z @ A.T) / h


def claim(full: bool) -> Claim:
  generator, count = np.random.default_rng(0), 100_000 if full else 5_000
  times, rows, normal, tangent = [1.0, 0.1, 0.01, 1e-3, 1e-4], [], [], []
  for t in times:
    alpha, h = levels(t)
    x = alpha * TRIPLE.draw(count, generator) @ A.T + np.sqrt(h) * generator.normal(
      size=(count, AMBIENT)
    )
    found = dense_score(t, x)
    on, off = split_score(t, x)
    away, name = np.abs(found - on - off).max(), 'largest difference from the sum of both parts'
    rows.append(Row(f'{name}, t = {t:g}', 0.0, away, 0.0, 1e-9 / h))
    inside = found @ A
    normal.append(mean(np.sum((found - inside @ A.T) ** 2, axis=1)))
    tangent.append(mean(np.sum(inside**2, axis=1)))
    rows.append(Row(f'E |orthogonal part|^2, t = {t:g}', (AMBIENT - INTRINSIC) / h, *normal[-1]))
  hs = np.array([levels(t)[1] for t in times])
  parts = [*normal[-2:], *tangent[-2:]]
  found = np.log([part.value for part in parts]) @ [-1, 1, 1, -1] / np.log(hs[-1] / hs[-2])
  error = np.linalg.norm([p.error / p.value for p in parts]) / abs(np.log(hs[-1] / hs[-2]))
  note = 'the on-support part still grows a little'
  name = 'slope of the ratio of both parts in h, last two times'
  rows.append(Row(name, -1.0, float(found), float(error), 0.03, note))
  line = np.geomspace(hs[-1], hs[0], 40)
  sketch = Sketch(
    'h(t)',
    'E |part of the score|^2',
    {'orthogonal': (line, (AMBIENT - INTRINSIC) / line)},
    {
      'orthogonal': (hs, [n.value for n in normal]),
      'on the support': (hs, [m.value for m in tangent]),
    },
    log='xy',
  )
  return Claim(rows, sketch)
