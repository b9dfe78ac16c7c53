"""A codebook e_1 ... e_K of vectors: the nearest, gradients past it, and how it follows encodings.

The codebook is a moving k-means of the encodings (van den Oord et al. 2017, app. A.1): each code is
the mean of those that it is the nearest to, over recent batches.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import entr

UNUSED = 0.1  # share of an even use below which a code is dead
APART = 1.01  # a code that is split has its new half so many times as far from the origin


def nearest(codebook: jax.Array, z: jax.Array) -> jax.Array:
  """The index of the code nearest to each vector: (K, D), (..., D) -> int32 (...) (eq. 1)."""
  squares = jnp.sum(codebook**2, axis=1)
  products = z @ codebook.T
  distances = squares.reshape(*[1] * (z.ndim - 1), -1) - 2.0 * products  # but for |z|^2
  return jnp.argmin(distances, axis=-1)


def straight_through(z: jax.Array, e: jax.Array) -> jax.Array:
  """e, whose gradient goes to z as if it were z (sec. 3.2)."""
  return z + jax.lax.stop_gradient(e - z)


def commitment(z: jax.Array, e: jax.Array) -> jax.Array:
  """|z - sg(e)|^2, summed: draws encodings to their codes, and not codes to them (eq. 3)."""
  return jnp.sum((z - jax.lax.stop_gradient(e)) ** 2)


def perplexity(use: jax.Array) -> jax.Array:
  """exp of the entropy of the shares (K,) in which codes are used: K where all are used alike."""
  return jnp.exp(jnp.sum(entr(use)))


class Averages(NamedTuple):
  """Over the encodings of recent batches.

  Attributes:
    use: (K,), the share of them that a code is the nearest to.
    sums: (K, D), the mean of them, of each code's with zeros for the others'.
  """

  use: jax.Array
  sums: jax.Array


def even(codebook: jax.Array) -> Averages:
  """As if every code (K, D) had been used alike, by encodings that lie on it."""
  codes = len(codebook)
  return Averages(jnp.full(codes, 1.0 / codes), codebook / codes)


def averages(index: jax.Array, z: jax.Array, codes: int) -> Averages:
  """Of some encodings z (..., D) and the indices (...) of their codes, of which there are K."""
  chosen = jax.nn.one_hot(index.ravel(), codes)
  vectors = z.reshape(-1, z.shape[-1])
  return Averages(chosen.mean(axis=0), chosen.T @ vectors / len(vectors))


def follow(old: Averages, new: Averages, decay: float) -> Averages:
  """The averages after another batch; with decay 0 their codes are those of Lloyd's algorithm."""
  return jax.tree.map(lambda a, b: decay * a + (1.0 - decay) * b, old, new)


def split(found: Averages) -> tuple[Averages, jax.Array]:
  """Gives each dead code one half of a busy one, and says how many there were.

  The deadest becomes almost a copy of the busiest, which the encodings around it will tell apart,
  and so on (Linde et al. 1980).
  """
  use, sums = found
  codes = len(use)
  order = jnp.argsort(use)
  partner = jnp.zeros(codes, jnp.int32).at[order].set(order[::-1])
  dead = use < UNUSED / codes
  revived = dead & ~dead[partner]
  halved = revived[partner]
  use = jnp.where(revived, use[partner] / 2.0, jnp.where(halved, use / 2.0, use))
  of_busy = APART * sums[partner] / 2.0
  sums = jnp.where(revived[:, None], of_busy, jnp.where(halved[:, None], sums / 2.0, sums))
  return Averages(use, sums), jnp.sum(revived).astype(jnp.float32)


def centroids(found: Averages, codebook: jax.Array) -> jax.Array:
  """The codes (K, D) of these averages; one that was never used stays as it is in the codebook."""
  used = (found.use > 0.0)[:, None]
  return jnp.where(used, found.sums / jnp.where(used, found.use[:, None], 1.0), codebook)
