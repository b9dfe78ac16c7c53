"""log p(x) is the lower bound plus the divergence from the posterior

log p(x) = ELBO(q) + KL(q || p(z|x)) for any q (Jordan et al. 1999; Kingma & Welling 2013, eq. 1),
and on average over data E KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)), the rate split into what
codes tell of images and what their mean law is off (Hoffman & Johnson 2016). Predicted in closed
form for the linear model z ~ N(0, I), x|z ~ N(W z, v I) with its exact posterior; measured by
samples of q.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import multivariate_normal

from jaxgen.objectives.distributions import gaussian_kl, log_normal
from jaxgen.objectives.variational import bounds
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import Estimate, mean

W = np.array([[1.0, 0.3], [-0.4, 0.8], [0.5, 0.5]])
V = 0.3  # variance of x given z
X = np.array([0.7, -0.2, 1.1])
PRECISION = np.eye(2) + W.T @ W / V  # of z given x
POSTERIOR = np.linalg.solve(PRECISION, W.T / V)  # its mean is POSTERIOR x
D = np.array([0.2, 0.3])  # variances of q


def divergence(mean: np.ndarray, variance: np.ndarray, precision: np.ndarray) -> float:
  """KL(N(0, variance) || N(mean, precision^-1)) in nats."""
  both = precision @ variance
  log_det = np.linalg.slogdet(both)[1]
  return 0.5 * float(np.trace(both) + mean @ precision @ mean - len(mean) - log_det)


def bound(mean_q: np.ndarray, count: int) -> Estimate:
  """The lower bound at X of q = N(mean_q, diag D), in nats."""

  def log_p(z: jax.Array) -> jax.Array:
    return log_normal(jnp.asarray(X), jnp.asarray(W) @ z, jnp.full(3, np.log(V)))

  def one(key: jax.Array) -> jax.Array:
    found = bounds.terms(log_p, jnp.asarray(mean_q), jnp.log(D), key, 1)
    return bounds.evidence_lower_bound(found.log_likelihoods, found.kl)

  return mean(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count)))


def claim(full: bool) -> Claim:
  count = 400_000 if full else 30_000
  evidence = multivariate_normal.logpdf(X, cov=W @ W.T + V * np.eye(3))
  best, rows = POSTERIOR @ X, []
  shifts = [0.0, 0.3, 1.0]
  known = [evidence - divergence(np.full(2, -s), np.diag(D), PRECISION) for s in shifts]
  found = [bound(best + s, count) for s in shifts]
  for shift, predicted, estimate in zip(shifts, known, found, strict=True):
    rows.append(
      Row(f'ELBO, q off by {shift:g}: log p(x) - KL(q || p(z|x)), nats', predicted, *estimate)
    )
  rows.append(Row('ELBO against log p(x)', evidence, *found[0], relation='≤'))
  encoder = 0.8 * POSTERIOR  # of a law of codes that is too narrow
  covariance = encoder @ (W @ W.T + V * np.eye(3)) @ encoder.T + np.diag(D)
  information = 0.5 * (np.linalg.slogdet(covariance)[1] - np.sum(np.log(D)))
  off = divergence(np.zeros(2), covariance, np.eye(2))
  generator = np.random.default_rng(0)
  x = generator.normal(size=(count, 2)) @ W.T + np.sqrt(V) * generator.normal(size=(count, 3))
  rate = mean(jax.vmap(gaussian_kl, (0, None))(jnp.asarray(x @ encoder.T), jnp.log(D)))
  rows.append(
    Row(
      f'E KL(q(z|x) || p(z)) = I + KL(q(z) || p(z)) = {information:.3f} + {off:.3f}',
      information + off,
      *rate,
    )
  )
  line = np.linspace(-0.2, 1.2, 29)
  sketch = Sketch(
    'distance of q from the posterior mean, each coordinate',
    'ELBO, nats',
    {
      'ELBO': (line, [evidence - divergence(np.full(2, -s), np.diag(D), PRECISION) for s in line]),
      'log p(x)': (line, np.full(29, evidence)),
    },
    {'ELBO': (shifts, [f.value for f in found])},
  )
  return Claim(rows, sketch)
