"""EM never lowers the likelihood, and converges at the rate of what is missing

Each iteration of expectation-maximisation raises the likelihood (Dempster et al. 1977, thm. 1), and
near its limit shrinks the error by the largest eigenvalue of I - I_c^-1 I_o, the share of the
information that hides in the unseen components: I_o is the negative Hessian of the log-likelihood,
I_c that of the expected complete-data log-likelihood (ibid., sec. 3 and thm. 4). Predicted by
automatic second derivatives of both, written down here; measured on the project's mixture of
Gaussians, all images in a batch, its likelihood by scipy.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from scipy import stats

from jaxgen.objectives.base import DEVICES, Example
from jaxgen.objectives.linear.gaussian_mixture import gaussian_mixture
from jaxgen.theory.claims import Claim, Row, Sketch


def iterations(data: np.ndarray, updates: int) -> Any:
  """Parameters after each update of a mixture of two on a line, leading axis (updates,)."""
  count = len(data)
  model = gaussian_mixture((1, 1, 1), 2, 'diagonal', floor=1e-9)
  batch = Example(
    jnp.asarray(data).reshape(-1, 1, 1, 1),
    jnp.full(count, -1, jnp.int32),
    jnp.arange(count, dtype=jnp.int32),
  )
  step = jax.vmap(model.update, in_axes=None, out_axes=None, axis_name=DEVICES, axis_size=1)
  keys = jax.random.split(jax.random.key(0), count)

  def forth(state: Any, t: jax.Array) -> Any:
    params, memory, _ = step(*state, batch, keys, t)
    return jax.tree.map(lambda a: a.astype(jnp.float64), (params, memory)), params

  start = jax.tree.map(lambda a: a.astype(jnp.float64), model.init(jax.random.key(0)))
  return jax.jit(lambda s: jax.lax.scan(forth, s, jnp.arange(updates))[1])(start)


def log_likelihood(params: Any, data: np.ndarray) -> float:
  """Mean over the data, in nats."""
  log_weights, means, roots = (np.asarray(params[k]) for k in ('log_weights', 'means', 'roots'))
  parts = [
    w + stats.norm.logpdf(data, m[0], r[0])
    for w, m, r in zip(log_weights, means, roots, strict=True)
  ]
  return float(np.logaddexp(*parts).mean())


def joint(theta: jax.Array, x: jax.Array) -> jax.Array:
  """log w_k N(x; m_k, exp(r_k)^2), (2,), of theta = (logit of w_1, m, r)."""
  log_w = jnp.stack([jax.nn.log_sigmoid(theta[0]), jax.nn.log_sigmoid(-theta[0])])
  m, r = theta[1:3], theta[3:5]
  return log_w - 0.5 * ((x - m) * jnp.exp(-r)) ** 2 - r


def missing(theta: jax.Array, data: jax.Array) -> float:
  """The largest eigenvalue of I - I_c^-1 I_o."""

  def observed(theta: jax.Array) -> jax.Array:
    return jax.vmap(lambda x: logsumexp(joint(theta, x)))(data).mean()

  shares = jax.vmap(lambda x: jax.nn.softmax(joint(theta, x)))(data)

  def complete(theta: jax.Array) -> jax.Array:
    return jnp.sum(shares * jax.vmap(lambda x: joint(theta, x))(data), axis=1).mean()

  curvatures = jax.jit(lambda theta: (jax.hessian(complete)(theta), jax.hessian(observed)(theta)))
  known = np.linalg.solve(*map(np.asarray, curvatures(theta)))
  return float(1.0 - np.linalg.eigvals(known).real.min())


def claim(full: bool) -> Claim:
  rows, updates, lines = [], 3_000 if full else 300, {}
  for distance in (3.0, 2.2, 1.8) if full else (3.0, 2.2):
    generator = np.random.default_rng(1)
    data = generator.normal(size=500) * 0.7 + distance * (generator.random(500) < 0.4)
    data[:2] = 0.0, distance  # the first guess of the means
    params = jax.tree.map(np.asarray, iterations(data, updates))
    values = [log_likelihood(jax.tree.map(lambda a, t=t: a[t], params), data) for t in range(120)]
    name = f'parts {distance:g} apart'
    least, what = min(np.diff(values)), f'least gain of an iteration, {name}, nats'
    rows.append(Row(what, 0.0, least, 0.0, 1e-13, 'rounding', '≥'))
    mean = np.asarray(params['means'])[:, 0, 0]
    error = np.abs(mean - mean[-1])
    window = np.flatnonzero((error < 1e-4) & (error > 1e-9))
    rate = (error[window[-1]] / error[window[0]]) ** (1.0 / (window[-1] - window[0]))
    last = jax.tree.map(lambda a: np.asarray(a[-1]), params)
    theta = jnp.asarray(
      [
        last['log_weights'][0] - last['log_weights'][1],
        *last['means'][:, 0],
        *np.log(last['roots'][:, 0]),
      ]
    )
    share = missing(theta, jnp.asarray(data))
    note = 'above it the second eigenvalue, and below it the end of the run, still show'
    rows.append(Row(f'rate of convergence, {name}', share, float(rate), 0.0, 1e-4, note))
    t = np.arange(0, min(len(error), 4 * window[-1] // 3), 1)
    anchor = window[len(window) // 2]
    lines[name] = t, error[t], error[anchor] * share ** (t - anchor)
  sketch = Sketch(
    'iteration',
    'error of a mean',
    {name: (t, line) for name, (t, _, line) in lines.items()},
    {name: (t[:: len(t) // 25], e[:: len(t) // 25]) for name, (t, e, _) in lines.items()},
    log='y',
  )
  return Claim(rows, sketch)
