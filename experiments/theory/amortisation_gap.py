"""An encoder's loss is a gap of its family and a gap of its own

log p(x) - ELBO = [log p(x) - max_q ELBO] + [max_q ELBO - ELBO(encoder)]: the first, the
approximation gap, is of the family of q, the second, the amortisation gap, of one encoder for all
images (Cremer et al. 2018, eq. 4). In the linear model x|z ~ N(W z, v I) with posterior precision P
the best diagonal Gaussian has the posterior's mean and variances 1 / P_ii (Bishop 2006, eq. 10.12),
so that the first gap is (sum log P_ii - log det P) / 2 for every x, and an encoder whose means are
off by e(x) adds E e'P e / 2.

Measured: the project's ascent of the bound for each image (`non_amortized.climb`), and samples.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.variational import bounds
from jaxgen.objectives.variational.non_amortized import climb
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean

W = np.array([[1.0, 0.6], [0.2, 0.8], [0.5, -0.1]])
V = 0.5
PRECISION = np.eye(2) + W.T @ W / V
BEST = np.linalg.solve(PRECISION, W.T / V)
ENCODER = BEST + np.array([[0.2, -0.1, 0.0], [0.0, 0.15, -0.2]])  # of means, not the best one
VARIANCES = 1.0 / np.diag(PRECISION)


def log_p(x: jax.Array, z: jax.Array) -> jax.Array:
  return log_normal(x, jnp.asarray(W) @ z, jnp.full(3, np.log(V)))


def bound(q: dict[str, jax.Array], x: jax.Array, key: jax.Array, samples: int) -> jax.Array:
  found = bounds.terms(lambda z: log_p(x, z), q['mean'], q['log_variance'], key, samples)
  return bounds.evidence_lower_bound(found.log_likelihoods, found.kl)


def climbed(x: jax.Array, key: jax.Array, steps: int) -> dict[str, jax.Array]:
  """The posterior of one image that the ascent finds, its rate falling to 0."""
  optimizer = optax.adam(optax.cosine_decay_schedule(0.1, steps))
  start = {'mean': jnp.zeros(2), 'log_variance': jnp.zeros(2)}

  def gradient(q: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    return jax.grad(lambda q: -bound(q, x, key, 16))(q)

  return climb(gradient, optimizer, (start, optimizer.init(start)), key, steps)[0]


def claim(full: bool) -> Claim:
  images, steps, samples = (200, 1500, 20_000) if full else (30, 600, 8_000)
  covariance = W @ W.T + V * np.eye(3)
  x = np.random.default_rng(0).multivariate_normal(np.zeros(3), covariance, images)
  inverse, log_det = np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1]
  evidence = -0.5 * (np.einsum('ni,ij,nj->n', x, inverse, x) + log_det + 3 * np.log(2 * np.pi))

  def gaps(x: jax.Array, evidence: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
    first, second, third = jax.random.split(key, 3)
    own = climbed(x, first, steps)
    shared = {'mean': jnp.asarray(ENCODER) @ x, 'log_variance': jnp.log(VARIANCES)}
    bests = bound(own, x, second, samples)
    amortised = bests - bound(shared, x, third, samples)
    return evidence - bests, amortised, own['mean'], own['log_variance']

  keys = jax.random.split(jax.random.key(0), images)
  family, encoder, means, log_variances = jax.jit(jax.vmap(gaps))(x, evidence, keys)
  off = x @ (ENCODER - BEST).T
  each = 0.5 * np.einsum('ni,ij,nj->n', off, PRECISION, off)
  known = 0.5 * (np.sum(np.log(np.diag(PRECISION))) - np.linalg.slogdet(PRECISION)[1])
  note = 'the ascent stops a little short'
  difference = mean(np.asarray(encoder) - each)
  measured = each.mean() + difference.value
  off_mean = float(np.sqrt(np.mean((np.asarray(means) - x @ BEST.T) ** 2)))
  rows = [
    Row('approximation gap, nats', known, *mean(family), 1e-3, note),
    Row('amortisation gap, nats', each.mean(), measured, difference.error, 1e-3, note),
    Row('off the posterior mean, root mean square', 0.0, off_mean, 0.0, 0.03, note),
  ]
  for i in range(2):
    rows.append(
      Row(f'variance of z_{i + 1}', VARIANCES[i], *mean(np.exp(log_variances[:, i])), 0.01, note)
    )
  order = np.argsort(each)[:: max(1, images // 60)]
  line = np.array([0.0, each.max()])
  return Claim(
    rows,
    Sketch(
      'amortisation gap of an image, predicted',
      'measured',
      {'equal': (line, line)},
      {'images': (each[order], np.asarray(encoder)[order])},
    ),
  )
