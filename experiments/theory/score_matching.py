"""Explicit, implicit, sliced and denoising score matching differ by constants

For a model s of grad log p the losses 1/2 E|s - grad log p|^2 (explicit), E[1/2 |s|^2 + tr ds/dx]
(implicit, Hyvarinen 2005, thm. 1), E[1/2 |s|^2 + v' ds/dx v] with v of unit covariance (sliced,
Song et al. 2019, eq. 8), and, p being the law of x_0 + sigma eps, 1/2 E|s + eps / sigma|^2
(denoising, Vincent 2011, eq. 11) have the same minimiser: each is the first plus what no model
changes. So differences between two models are equal.

Predicted: the explicit losses, for linear models s = -B x of Gaussian data in closed form, for two
nonlinear ones of a mixture by quadrature. Measured: the other three on samples.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.diffusion import process
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import Estimate, mean
from jaxgen.theory.mixtures import TRIPLE, log_density

Model = Callable[[jax.Array], jax.Array]  # (d,) -> (d,)
SIGMA = 0.4
KINDS = ('implicit', 'sliced', 'denoising')
ROOT = np.array([[1.0, 0.0], [0.6, 0.5]])
MATRICES = [np.array([[1.5, -0.3], [-0.3, 2.0]]), np.array([[0.7, 0.2], [-0.1, 0.5]])]


def losses(
  model: Model, x_0: jax.Array, noise: jax.Array, direction: jax.Array
) -> dict[str, jax.Array]:
  """The integrands of the three losses at one noisy point."""
  x = process.diffuse(x_0, noise, 1.0, SIGMA)
  s = model(x)
  _, along = jax.jvp(model, (x,), (direction,))
  half = 0.5 * jnp.sum(s**2)
  return {
    'implicit': half + jnp.trace(jax.jacfwd(model)(x)),
    'sliced': half + direction @ along,
    'denoising': 0.5 * jnp.sum((s - process.score(noise, SIGMA)) ** 2),
  }


def differences(
  first: Model, second: Model, x_0: np.ndarray, generator: np.random.Generator
) -> dict[str, Estimate]:
  """Of the first model's losses from the second's, on the same draws."""
  noise = generator.normal(size=x_0.shape)
  direction = generator.choice([-1.0, 1.0], size=x_0.shape)

  def of_one(*point: jax.Array) -> dict[str, jax.Array]:
    return jax.tree.map(jnp.subtract, losses(first, *point), losses(second, *point))

  return {k: mean(v) for k, v in jax.jit(jax.vmap(of_one))(x_0, noise, direction).items()}


def explicit_linear(B: np.ndarray, S: np.ndarray) -> float:
  """1/2 E|-B x + S^-1 x|^2 of x ~ N(0, S)."""
  away = B - np.linalg.inv(S)
  return 0.5 * float(np.trace(away @ S @ away.T))


def explicit_mixture(model: Model, order: int = 40) -> float:
  """The explicit loss under the noisy mixture, by Gauss and Hermite's rule in each of its parts."""
  noisy = TRIPLE.noised(1.0, SIGMA)
  nodes, weights = np.polynomial.hermite_e.hermegauss(order)
  grid = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
  share = np.outer(weights, weights).ravel() / np.sum(weights) ** 2

  def away(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum((model(x) - jax.grad(log_density, 3)(TRIPLE, 1.0, SIGMA, x)) ** 2)

  parts = zip(noisy.weights, noisy.means, noisy.deviations, strict=True)
  return float(sum(w * share @ jax.vmap(away)(m[None] + c * grid) for w, m, c in parts))


def shrinking(x: jax.Array) -> jax.Array:
  return -2.0 * jnp.tanh(x)


def twisted(x: jax.Array) -> jax.Array:
  return jnp.tanh(jnp.array([[-1.0, 0.5], [-0.8, -0.6]]) @ x) - 0.5 * x


def claim(full: bool) -> Claim:
  generator, count = np.random.default_rng(0), 1_000_000 if full else 100_000
  noisy = ROOT @ ROOT.T + SIGMA**2 * np.eye(2)
  x_0 = generator.normal(size=(count, 2)) @ ROOT.T
  linear = [lambda x, B=B: -jnp.asarray(B) @ x for B in MATRICES]
  known = explicit_linear(MATRICES[0], noisy) - explicit_linear(MATRICES[1], noisy)
  found = differences(*linear, x_0, generator)
  rows = [Row(f'{kind}, difference of two linear models', known, *found[kind]) for kind in KINDS]
  known = explicit_mixture(shrinking) - explicit_mixture(twisted)
  found = differences(shrinking, twisted, TRIPLE.draw(count, generator), generator)
  rows += [
    Row(f'{kind}, difference of two nonlinear models', known, *found[kind]) for kind in KINDS
  ]
  best = np.linalg.inv(noisy)
  scales = np.linspace(0.4, 1.8, 8)
  lines = {kind: [] for kind in KINDS}
  away = jax.jit(
    lambda b, x, noise, v: jax.tree.map(
      lambda part, whole: jnp.mean(part - whole),
      jax.vmap(partial(losses, lambda x: -b * jnp.asarray(best) @ x))(x, noise, v),
      jax.vmap(partial(losses, lambda x: -jnp.asarray(best) @ x))(x, noise, v),
    )
  )
  draws = generator.normal(size=(20_000, 2)), generator.choice([-1.0, 1.0], size=(20_000, 2))
  for scale in scales:
    for kind, found in away(scale, x_0[:20_000], *draws).items():
      lines[kind].append(float(found))
  sketch = Sketch(
    'b of the model b grad log p',
    'loss above the least',
    {'explicit': (scales, [explicit_linear(b * best, noisy) for b in scales])},
    {kind: (scales, line) for kind, line in lines.items()},
  )
  return Claim(rows, sketch)
