"""Diffusion is a hierarchical VAE: its bound is a sum of divergences, and is not tight

With the noising as an encoder without parameters, -E log p(x_0:T) / q(x_1:T | x_0) = L_T + sum
L_(t-1) + L_0 (Sohl-Dickstein et al. 2015; Ho et al. 2020, eq. 5), for any denoiser. Predicted: the
sum, each divergence in closed form for data N(0, c^2) and a linear denoiser. Measured: the left
side, on simulated chains, with the project's tables.

With the exact denoiser the bound lies above the entropy, as a Gaussian step of variance v stands
for a reverse step of true variance r: by (r / v - 1 - log r / v) / 2 a step. Of the schedule from
1e-4 to 0.02 (scaled by 1000 / T) 'small' variances beta (t - 1) / t cost sum_j (1/j - log(1 + 1/j))
/ 2 = gamma / 2 = 0.2886 nats a dimension however large T (gamma is Euler's constant), and 'large'
ones nothing in the limit, like 1 / T; and the variance at t = 1, which Ho et al. take from t = 2,
where it is beta / 2, costs both another (1 - log 2) / 2.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.diffusion import process
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import Estimate, mean, slope

C = 0.6162
ENTROPY = 0.5 * np.log(2.0 * np.pi * np.e * C**2)


def terms(timesteps: int, variance: str, trust: float) -> np.ndarray:
  """L_0, ..., L_T in nats, of a denoiser that is `trust` times the best one."""
  beta = np.linspace(1e-4, 0.02, timesteps) * (1000 / timesteps)
  bar = np.cumprod(1.0 - beta)
  before = np.concatenate([[1.0], bar[:-1]])
  a, s2 = np.sqrt(bar), -np.expm1(np.cumsum(np.log1p(-beta)))
  s2_before = np.concatenate([[0.0], s2[:-1]])
  q = beta * s2_before / s2
  p = np.where(np.arange(timesteps) == 0, q[1], q if variance == 'small' else beta)
  gain = trust * a * C**2 / (a**2 * C**2 + s2)
  missed = C**2 - 2.0 * gain * a * C**2 + gain**2 * (a**2 * C**2 + s2)  # E |x_0 - what is said|^2
  offset = before * (beta / s2) ** 2 * missed
  divergence = 0.5 * (q[1:] / p[1:] - 1.0 - np.log(q[1:] / p[1:]) + offset[1:] / p[1:])
  first = 0.5 * (np.log(2.0 * np.pi * p[0]) + missed[0] / p[0])
  last = 0.5 * (s2[-1] + bar[-1] * C**2 - 1.0 - np.log(s2[-1]))
  return np.concatenate([[first], divergence, [last]])


def chains(timesteps: int, variance: str, trust: float, count: int) -> Estimate:
  """-log p(x_0:T) / q(x_1:T | x_0) of simulated chains, in nats."""
  bars = process.alpha_bars('linear', timesteps)
  kernel = process.kernel(bars, variance)
  from_x_t = np.concatenate(
    [[0.0], process.reverse_steps(bars, np.arange(timesteps + 1)).from_x_t[::-1]]
  )
  betas = np.concatenate([[0.0], 1.0 - bars[1:] / bars[:-1]])
  tables = jax.tree.map(
    lambda t: jnp.asarray(t[1:], jnp.float64),
    (kernel.a, kernel.s, kernel.from_x_0, kernel.variance_p, from_x_t, betas),
  )

  def log_normal(x: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    return -0.5 * ((x - mean) ** 2 / variance + jnp.log(2.0 * jnp.pi * variance))

  def one(key: jax.Array) -> jax.Array:
    first, way = jax.random.split(key)
    x_0 = C * jax.random.normal(first)

    def forth(carry: tuple[jax.Array, jax.Array], row: tuple) -> tuple:
      x, found = carry
      i, (a, s, from_x_0, variance_p, from_x_t, beta) = row
      new = jnp.sqrt(1.0 - beta) * x + jnp.sqrt(beta) * jax.random.normal(
        jax.random.fold_in(way, i)
      )
      said = from_x_0 * trust * a * C**2 / (a**2 * C**2 + s**2) * new + from_x_t * new
      found += log_normal(x, said, variance_p) - log_normal(new, jnp.sqrt(1.0 - beta) * x, beta)
      return (new, found), None

    (x, found), _ = jax.lax.scan(forth, (x_0, jnp.zeros(())), (jnp.arange(timesteps), tables))
    return -found - log_normal(x, 0.0, 1.0)

  return mean(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count)))


def gap(timesteps: int, variance: str, first: bool = True) -> float:
  """The bound with the exact denoiser, above the entropy: nats a dimension.

  Args:
    timesteps: T.
    variance: of the model's steps.
    first: whether with the step at t = 1.
  """
  bars = process.alpha_bars('linear', timesteps)
  steps = process.reverse_steps(bars, np.arange(timesteps + 1), variance=variance)
  t = steps.t
  s2 = 1.0 - bars[t]
  q, beta = process.posterior_variance(bars[t], bars[t - 1]), 1.0 - bars[t] / bars[t - 1]
  true = q + steps.from_x_0**2 * C**2 * s2 / (bars[t] * C**2 + s2)  # of x_(t-1) given x_t
  model = np.where(t == 1, q[-2], q if variance == 'small' else beta)
  last = 0.5 * (bars[-1] * (C**2 - 1.0) - np.log1p(bars[-1] * (C**2 - 1.0)))  # of p(x_T)
  costs = 0.5 * (true / model - 1.0 - np.log(true / model))
  return float(np.sum(costs[t > (not first)]) + last)


def claim(full: bool) -> Claim:
  count, rows = 200_000 if full else 10_000, []
  for variance in ('small', 'large'):
    for trust in (1.0, 0.8):
      known = float(terms(50, variance, trust).sum())
      name = f'-E log p / q, T = 50, {variance}, {trust:g} of the best denoiser, nats'
      rows.append(Row(name, known, *chains(50, variance, trust, count)))
  for variance in ('small', 'large'):
    known = float(terms(1000, variance, 1.0).sum()) - ENTROPY
    rows.append(
      Row(f'bound - entropy, T = 1,000, {variance}', known, gap(1000, variance), 0.0, 1e-8)
    )
  euler, first = 0.5 * np.euler_gamma, 0.5 * (1.0 - np.log(2.0))
  note = 'of order 1 / T, of small with a logarithm'
  large = 2_000_000 if full else 300_000
  rows.append(
    Row(
      f'the same, small, T = {large:,}', euler + first, gap(large, 'small'), 0.0, 1e3 / large, note
    )
  )
  rows.append(
    Row(f'the same, large, T = {large:,}', first, gap(large, 'large'), 0.0, 1e3 / large, note)
  )
  counts = np.array([250, 500, 1000, 2000, 4000])
  beyond = [gap(n, 'large', first=False) for n in counts]
  name, note = 'slope in T of the gap without t = 1, large', 'the next order bends it'
  rows.append(Row(name, -1.0, slope(counts, beyond).value, 0.0, 0.05, note))
  line = np.geomspace(100, large, 13).astype(int)
  sketch = Sketch(
    'T',
    'bound - entropy, nats a dimension',
    {'small': (line, np.full(13, euler + first)), 'large': (line, np.full(13, first))},
    {v: (line, [gap(int(n), v) for n in line]) for v in ('small', 'large')},
    log='x',
  )
  return Claim(rows, sketch)
