"""Mixtures of round Gaussians: data whose noisy densities, scores and denoisers are known."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from scipy import stats


class Mixture(NamedTuple):
  """sum_k weights_k N(means_k, deviations_k^2 I), in d dimensions.

  Attributes:
    weights: (K,).
    means: (K, d).
    deviations: (K,).
  """

  weights: np.ndarray
  means: np.ndarray
  deviations: np.ndarray

  def noised(self, a: float, s: float) -> 'Mixture':
    """The law of a x_0 + s eps."""
    return Mixture(self.weights, a * self.means, np.hypot(a * self.deviations, s))

  def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
    """Samples (count, d)."""
    k = generator.choice(len(self.weights), count, p=self.weights)
    noise = generator.normal(size=(count, self.means.shape[1]))
    return self.means[k] + self.deviations[k, None] * noise

  def cdf(self, x: np.ndarray) -> np.ndarray:
    """P(X <= x) in one dimension, (N,)."""
    parts = stats.norm.cdf(x[:, None], self.means.T, self.deviations[None])
    return parts @ self.weights

  def moment(self, power: int) -> float:
    """E X^power in one dimension, for 1, 2 or 3."""
    m, c = self.means[:, 0], self.deviations
    return float(self.weights @ (m, m**2 + c**2, m**3 + 3 * m * c**2)[power - 1])


def levels(t: float) -> tuple[float, float]:
  """alpha and h of x_t | x_0 ~ N(alpha x_0, h I), of dX = -X / 2 dt + dW."""
  return float(np.exp(-0.5 * t)), float(-np.expm1(-t))


def log_density(mixture: Mixture, a: jax.Array, s: jax.Array, x: jax.Array) -> jax.Array:
  """log p of a x_0 + s eps at one point (d,), in nats."""
  variances = (a * mixture.deviations) ** 2 + s**2
  away = x[None] - a * mixture.means
  exponents = 0.5 * jnp.sum(away**2, axis=1) / variances
  scales = 0.5 * x.size * jnp.log(2.0 * jnp.pi * variances)
  return logsumexp(jnp.log(mixture.weights) - exponents - scales)


def denoise(mixture: Mixture, a: jax.Array, s: jax.Array, x: jax.Array) -> jax.Array:
  """E[x_0 | a x_0 + s eps = x] at one point (d,): each part's mean, by how likely the part is."""
  variances = (a * mixture.deviations) ** 2 + s**2
  away = x[None] - a * mixture.means
  logits = jnp.log(mixture.weights) - 0.5 * jnp.sum(away**2, axis=1) / variances
  shares = jax.nn.softmax(logits - 0.5 * x.size * jnp.log(variances))
  gains = a * mixture.deviations**2 / variances
  return shares @ (mixture.means + gains[:, None] * away)


PAIR = Mixture(np.array([0.3, 0.7]), np.array([[-0.8], [0.5]]), np.array([0.1, 0.2]))  # on a line
TRIPLE = Mixture(  # in the plane
  np.array([0.2, 0.5, 0.3]),
  np.array([[-1.0, 0.4], [0.6, 0.8], [0.5, -0.9]]),
  np.array([0.3, 0.5, 0.2]),
)
