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
  """A code so far on the way from one to another, along the sphere through both (Shoemake 1985).

  Draws of N(0, I) in many dimensions lie near a sphere, which the straight line leaves. Where the
  two point the same or the opposite way, or one is 0, it is the line.

  Args:
    a: of any shape.
    b: of the same.
    share: 0 is at a, 1 at b.
  """
  scale = jnp.linalg.norm(a.ravel()) * jnp.linalg.norm(b.ravel())
  cosine = jnp.where(scale > 0.0, jnp.vdot(a, b) / jnp.where(scale > 0.0, scale, 1.0), 1.0)
  angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
  sine = jnp.sin(angle)
  curved = sine > 1e-3

  def weight(part: ArrayLike) -> jax.Array:
    return jnp.where(curved, jnp.sin(part * angle) / jnp.where(curved, sine, 1.0), part)

  return weight(1.0 - share) * a + weight(share) * b


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
