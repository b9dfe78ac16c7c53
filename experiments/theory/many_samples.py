"""K samples: the bound's variance falls as 1 / K, IWAE's gap too

The mean over K samples of the ELBO's likelihood term has a K-th of its variance.
The importance-weighted bound L_K = E log mean_k w_k rises with K to log p(x) (Burda et al. 2016,
thm. 1), with a gap of mu_2 / 2K - (mu_3 / 3 - 3 mu_2^2 / 4) / K^2 + ..., mu_i the central moments
of w / p(x) (Domke & Sheldon 2018, thm. 3; Nowozin 2018, prop. 1).

Here z ~ N(0, 1), x|z ~ N(z, 1) and q = N(x / 2 + delta, 1 / 2) is off the posterior by delta: log w
is Gaussian with variance s^2 = 2 delta^2, so that mu_2 = exp(s^2) - 1, mu_3 = exp(3 s^2) - 3
exp(s^2) + 2, the gap at K = 1 is delta^2, and at K = 2 delta^2 - E log cosh(delta eps).
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.variational import bounds
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean, variance

X, DELTA = 0.8, 0.5
EVIDENCE = -0.25 * X**2 - 0.5 * np.log(4.0 * np.pi)  # log N(X; 0, 2)
SQUARE = 2.0 * DELTA**2  # of log w: its variance


def draws(samples: int, count: int) -> tuple[np.ndarray, ...]:
  """Of K samples the lower bound, the importance-weighted one and the mean of log w, (count,)."""

  def log_p(z: jax.Array) -> jax.Array:
    return log_normal(jnp.full(1, X), z, jnp.zeros(1))

  def one(key: jax.Array) -> tuple[jax.Array, ...]:
    found = bounds.terms(log_p, jnp.full(1, X / 2 + DELTA), jnp.full(1, -np.log(2.0)), key, samples)
    elbo = bounds.evidence_lower_bound(found.log_likelihoods, found.kl)
    weights = found.log_weights()
    return elbo, bounds.importance_weighted_bound(weights), weights.mean()

  keys = jax.random.split(jax.random.key(samples), count)
  return tuple(map(np.asarray, jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=1000))(keys)))


def asymptotic(samples: float) -> float:
  """The gap to second order in 1 / K."""
  mu_2 = np.expm1(SQUARE)
  mu_3 = np.exp(3 * SQUARE) - 3 * np.exp(SQUARE) + 2.0
  return mu_2 / (2 * samples) - (mu_3 / 3 - 0.75 * mu_2**2) / samples**2


def claim(full: bool) -> Claim:
  rows, work = [], 8_000_000 if full else 400_000
  nodes, weights = np.polynomial.hermite_e.hermegauss(60)
  two = DELTA**2 - float(weights @ np.log(np.cosh(DELTA * nodes)) / weights.sum())
  known = {1: DELTA**2, 2: two} | {k: asymptotic(k) for k in (20, 100)}
  away = X / 2 - DELTA  # of x from the mean of z
  counts, gaps, spreads = [1, 2, 5, 20, 100] if full else [1, 2, 20], [], []
  for samples in counts:
    elbo, weighted, mean_log_weight = draws(samples, work // samples)
    spreads.append(variance(elbo))
    predicted = (away**2 / 2 + 1 / 8) / samples
    rows.append(Row(f'variance of the ELBO, K = {samples}', predicted, *spreads[-1]))
    # The mean of log w, known from K = 1, takes most of the noise away.
    known_part = 0.0 if samples == 1 else mean_log_weight + DELTA**2 - EVIDENCE
    gap = mean(EVIDENCE - weighted + known_part)
    gaps.append(gap)
    if samples in known:
      exact = samples < 3
      note = '' if exact else 'of third order in 1 / K'
      rows.append(
        Row(
          f'log p(x) - L_K, K = {samples}, nats',
          known[samples],
          *gap,
          0.0 if exact else 1.0 / samples**3,
          note,
        )
      )
  for i, (fewer, more) in enumerate(pairwise(counts)):
    error = float(np.hypot(gaps[i].error, gaps[i + 1].error))
    rows.append(
      Row(f'L_{more} - L_{fewer}', 0.0, gaps[i].value - gaps[i + 1].value, error, relation='≥')
    )
  line = np.geomspace(1, 120, 40)
  sketch = Sketch(
    'K',
    'nats',
    {
      'variance of the ELBO': (line, (away**2 / 2 + 1 / 8) / line),
      'gap of L_K': (line[12:], [asymptotic(k) for k in line[12:]]),
    },
    {
      'variance of the ELBO': (counts, [v.value for v in spreads]),
      'gap of L_K': (counts, [g.value for g in gaps]),
    },
    log='xy',
  )
  return Claim(rows, sketch)
