"""Densities, probabilities and divergences that several families share, in nats."""

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from numpy.typing import ArrayLike


def log_normal(x: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
  """log N(x; mean, diag exp(log_variance)), summed over all dimensions, in nats."""
  square = (x - mean) ** 2 * jnp.exp(-log_variance)
  return -0.5 * jnp.sum(square + log_variance + jnp.log(2.0 * jnp.pi))


def gaussian_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
  """KL(N(mean, diag exp(log_variance)) || N(0, I)) in nats (Kingma & Welling 2013, app. B)."""
  return 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1.0 - log_variance)


def normal_kl(
  mean_difference: jax.Array, variance_q: ArrayLike, variance_p: ArrayLike
) -> jax.Array:
  """KL(N(m_q, variance_q I) || N(m_p, variance_p I)) in nats, from m_q - m_p of any shape."""
  ratio = variance_q / variance_p
  return 0.5 * jnp.sum(ratio - 1.0 - jnp.log(ratio) + mean_difference**2 / variance_p)


def between(a: jax.Array, b: jax.Array, share: ArrayLike) -> jax.Array:
  """A code so far on the way from one to another, on the arc around 0 (White 2016, sec. 2.1).

  Draws of N(0, I) in many dimensions lie near a sphere, which the straight line leaves. The
  direction turns at a constant rate in the plane of both, and the norm goes from one's to the
  other's at a constant rate too. Where both have one direction or opposite ones, or one is 0, it is
  the straight line.

  Args:
    a: of any shape.
    b: of the same.
    share: 0 is at a, 1 at b.
  """
  norm_a, norm_b = jnp.linalg.norm(a.ravel()), jnp.linalg.norm(b.ravel())
  first, last = a / jnp.where(norm_a > 0.0, norm_a, 1.0), b / jnp.where(norm_b > 0.0, norm_b, 1.0)
  apart, together = jnp.linalg.norm((first - last).ravel()), jnp.linalg.norm((first + last).ravel())
  angle = 2.0 * jnp.arctan2(apart, together)
  sine = jnp.sin(angle)
  curved = (sine > 1e-3) & (norm_a > 0.0) & (norm_b > 0.0)
  turned = jnp.sin((1.0 - share) * angle) * first + jnp.sin(share * angle) * last
  norm = (1.0 - share) * norm_a + share * norm_b
  straight = (1.0 - share) * a + share * b
  return jnp.where(curved, norm * turned / jnp.where(curved, sine, 1.0), straight)


def discretized_log_likelihood(
  x: jax.Array, mean: jax.Array, deviation: ArrayLike, levels: int = 256
) -> jax.Array:
  """log probability of pixels x in [-1, 1] on `levels` grey levels, in nats (eq. 13).

  Each level owns the interval half-way to its neighbours; the outermost ones reach to infinity.
  """
  half = 1.0 / (levels - 1)
  upper = (x - mean + half) / deviation
  lower = (x - mean - half) / deviation
  # By symmetry both ends can be put into the left tail, where the difference of logs is accurate.
  flip = lower > 0
  upper, lower = jnp.where(flip, -lower, upper), jnp.where(flip, -upper, lower)
  high, low = log_ndtr(upper), log_ndtr(lower)
  inside = high + jnp.log1p(-jnp.exp(jnp.minimum(low - high, -1e-7)))
  left, right = log_ndtr((x - mean + half) / deviation), log_ndtr(-(x - mean - half) / deviation)
  edge = 1.0 - half
  return jnp.sum(jnp.where(x < -edge, left, jnp.where(x > edge, right, inside)))
