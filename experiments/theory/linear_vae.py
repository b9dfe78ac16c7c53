"""A linear VAE is probabilistic PCA, and loses a code where its eigenvalue is below beta s2

The best linear VAE, z ~ N(0, I_k), x|z ~ N(W z, s2 I), q = N(V x, diag), reaches the likelihood of
probabilistic PCA, -(d log 2 pi + sum_(i <= k) log l_i + (d - k) log s2 + d) / 2 with l_i the
eigenvalues of the data's covariance and s2 the mean of those left out (Tipping & Bishop 1999, eq.
7, 8; Lucas et al. 2019, thm. 1): it has no worse optimum of its own.

With a weight beta on the KL and s2 fixed, code i lives exactly where l_i > beta s2 (the posterior
collapses below), then has KL_i = log(l_i / beta s2) / 2, and its means have variance 1 - beta s2 /
l_i. With s2 learned too, s2 = sum_(i > k) l_i / (d - beta k) over the k that live. Predicted by
these formulas; measured by ascent of the bound (L-BFGS) from a random start, d = 6 and l = 4, 2, 1,
0.5, 0.2, 0.1. The data are 2 d points with that covariance exactly, and codes are summed over
points that match a Gaussian's first three moments, so that nothing is random but the start.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

from jaxgen.objectives.distributions import gaussian_kl, log_normal
from jaxgen.objectives.variational.bounds import evidence_lower_bound, reparameterize
from jaxgen.theory.claims import Claim, Row, Sketch

L = np.array([4.0, 2.0, 1.0, 0.5, 0.2, 0.1])
D = len(L)
TURN = np.linalg.qr(np.random.default_rng(7).normal(size=(D, D)))[0]


def images() -> jax.Array:
  """(2 d, d) with mean 0 and covariance TURN diag(L) TURN'."""
  points = (TURN * np.sqrt(D * L)[None]).T
  return jnp.asarray(np.concatenate([points, -points]))


def bound(params: dict[str, jax.Array], x: jax.Array, beta: float) -> jax.Array:
  """The bound of one image in nats, its expectation over q exact."""
  k = params['decoder'].shape[1]
  mean = params['encoder'] @ x
  corners = np.sqrt(k) * np.concatenate([np.eye(k), -np.eye(k)])
  z = jax.vmap(reparameterize, (None, None, 0))(mean, params['log_variances'], jnp.asarray(corners))
  likelihoods = jax.vmap(
    lambda z: log_normal(x, params['decoder'] @ z, jnp.full(D, params['log_s2']))
  )(z)
  return evidence_lower_bound(likelihoods, gaussian_kl(mean, params['log_variances']), beta)


@cache
def objective(codes: int, learned: bool) -> tuple[Callable, Callable]:
  """The negative mean bound and its gradient, of flat parameters, beta, s2; the tree of these."""
  zeros = {
    'decoder': jnp.zeros((D, codes)),
    'encoder': jnp.zeros((codes, D)),
    'log_variances': jnp.zeros(codes),
    'log_s2': jnp.zeros(()),
  }
  _, unravel = ravel_pytree(zeros)

  def tree(flat: jax.Array, s2: float) -> dict[str, jax.Array]:
    return unravel(flat) | ({} if learned else {'log_s2': jnp.log(s2)})

  def loss(flat: jax.Array, beta: float, s2: float) -> jax.Array:
    return -jnp.mean(jax.vmap(bound, (None, 0, None))(tree(flat, s2), images(), beta))

  return jax.jit(jax.value_and_grad(loss)), tree


def trained(codes: int, beta: float, s2: float = 0.0) -> tuple[dict[str, Any], float]:
  """Parameters of the largest bound from a random start, and the bound; s2 learned unless given."""
  value, tree = objective(codes, s2 == 0.0)
  start = 0.3 * np.random.default_rng(0).normal(size=2 * D * codes + codes + 1)
  found = minimize(
    lambda p: tuple(np.asarray(v, np.float64) for v in value(jnp.asarray(p), beta, s2)),
    start,
    jac=True,
    method='L-BFGS-B',
    options={'maxiter': 5_000, 'maxfun': 20_000, 'ftol': 1e-15, 'gtol': 1e-9, 'maxcor': 30},
  )
  return jax.tree.map(np.asarray, tree(jnp.asarray(found.x), s2)), -float(found.fun)


def by_code(params: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
  """Variance of each code's mean and its KL in nats over the images, by falling KL, (k,) each."""
  means = np.asarray(images()) @ params['encoder'].T
  variances, logs = np.mean(means**2, axis=0), params['log_variances']
  kl = 0.5 * (np.exp(logs) + variances - 1.0 - logs)
  order = np.argsort(-kl)
  return variances[order], kl[order]


def against_ppca() -> list[Row]:
  """The bound and its variance, against probabilistic PCA."""
  params, found = trained(2, 1.0)
  s2 = L[2:].mean()
  known = -0.5 * (D * np.log(2 * np.pi) + np.log(L[:2]).sum() + (D - 2) * np.log(s2) + D)
  cosines = np.linalg.svd(np.linalg.qr(params['decoder'])[0].T @ TURN[:, :2])[1]
  rows = [
    Row('ELBO of 2 codes against the likelihood of PPCA, nats', known, found, 0.0, 1e-5),
    Row('s2 of 2 codes', s2, float(np.exp(params['log_s2'])), 0.0, 1e-4),
    Row('cosine of the angle to the first two principal axes', 1.0, cosines.min(), 0.0, 1e-5),
  ]
  for beta, k in ((1.5, 2), (2.0, 2), (2.0, 1)):
    params, _ = trained(k, beta)
    known, found = L[k:].sum() / (D - beta * k), float(np.exp(params['log_s2']))
    rows.append(Row(f's2 learned with beta = {beta:g} and {k} codes', known, found, 0.0, 1e-5))
  return rows


def claim(full: bool) -> Claim:
  rows, s2, line = against_ppca(), 0.3, []
  betas = 2.0 ** np.arange(-1, 5, 0.5 if full else 1)
  for limit in betas * s2:
    params, _ = trained(D, limit / s2, s2)
    variances, kl = by_code(params)
    alive, where = limit < L, f'beta s2 = {limit:.3g}'
    line.append((kl > 1e-3).sum())
    rows.append(Row(f'codes alive of {D}, {where}', float(alive.sum()), float(line[-1])))
    if np.isclose(limit, 1.2):
      for i in np.flatnonzero(alive):
        known = 0.5 * np.log(L[i] / limit), 1.0 - limit / L[i]
        rows.append(Row(f'KL of code {i + 1}, {where}, nats', known[0], kl[i], 0.0, 1e-5))
        name = f'variance of the means of code {i + 1}, {where}'
        rows.append(Row(name, known[1], variances[i], 0.0, 1e-5))
  grid, name = np.geomspace(0.12, 6.0, 400), 'eigenvalues above beta s2'
  sketch = Sketch(
    'beta s2',
    'codes alive',
    {name: (grid, [(b < L).sum() for b in grid])},
    {name: (betas * s2, line)},
    log='x',
  )
  return Claim(rows, sketch)
