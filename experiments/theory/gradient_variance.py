"""Pathwise gradients do not grow noisier with the dimension, score-function gradients do

d/dm E f(z) for z ~ N(m, s^2 I) is E f(z) (z - m) / s^2 (Williams 1992) and E f'(m + s eps) (Kingma
& Welling 2013, sec. 2.4). Of f(z) = |z|^2 one coordinate of the second has variance 4 s^2 in any
dimension d, and of the first, with S = sum of the other z_j^2, M = E S = (d - 1)(m^2 + s^2) and Var
S = (d - 1)(2 s^4 + 4 m^2 s^2), (m^4 + 18 m^2 s^2 + 15 s^4 + 2 M (m^2 + 3 s^2) + Var S + M^2) / s^2
- 4 m^2: of order d^2.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.variational.bounds import reparameterize
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean, variance

M, S = 0.5, 0.7
LOG_VARIANCE = 2.0 * np.log(S)


def target(z: jax.Array) -> jax.Array:
  return jnp.sum(z**2)


def pathwise(m: jax.Array, noise: jax.Array) -> jax.Array:
  return jax.grad(lambda m: target(reparameterize(m, jnp.full(m.shape, LOG_VARIANCE), noise)))(m)


def score_function(m: jax.Array, noise: jax.Array) -> jax.Array:
  z = reparameterize(m, jnp.full(m.shape, LOG_VARIANCE), noise)
  return target(z) * jax.grad(log_normal, 1)(z, m, jnp.full(m.shape, LOG_VARIANCE))


def known(dimension: int) -> float:
  """Variance of the score-function gradient's first coordinate."""
  others = (dimension - 1) * (M**2 + S**2)
  spread = (dimension - 1) * (2 * S**4 + 4 * M**2 * S**2)
  square = M**4 + 18 * M**2 * S**2 + 15 * S**4 + 2 * others * (M**2 + 3 * S**2) + spread + others**2
  return square / S**2 - 4 * M**2


def claim(full: bool) -> Claim:
  generator, rows = np.random.default_rng(0), []
  dimensions = [1, 4, 16, 64]
  found = {'pathwise': [], 'score function': []}
  for d in dimensions:
    noise = generator.normal(size=(1_000_000 if full and d < 64 else 50_000, d))
    m = jnp.full(d, M)
    for name, gradient in (('pathwise', pathwise), ('score function', score_function)):
      draws = np.asarray(
        jax.jit(jax.vmap(lambda m, e, g=gradient: g(m, e)[0], (None, 0)))(m, noise)
      )
      rows.append(Row(f'mean of {name}, d = {d}', 2 * M, *mean(draws)))
      found[name].append(variance(draws))
      predicted = 4 * S**2 if name == 'pathwise' else known(d)
      rows.append(Row(f'variance of {name}, d = {d}', predicted, *found[name][-1]))
  line = np.geomspace(1, 64, 30)
  sketch = Sketch(
    'dimension',
    'variance of a gradient',
    {'pathwise': (line, np.full(30, 4 * S**2)), 'score function': (line, [known(d) for d in line])},
    {name: (dimensions, [e.value for e in list_]) for name, list_ in found.items()},
    log='xy',
  )
  return Claim(rows, sketch)
