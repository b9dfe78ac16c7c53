"""What two players minimise, as pairs of functions of the critic's outputs.

Symbols: r = f(x) the critic's output on a real image, g = f(G(z)) on a fake one, both real numbers;
p and q the densities of real and fake images. Where a divergence is named, it is what the best
critic's loss amounts to, negated, up to the constant given.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class Losses(NamedTuple):
  """The integrands of both players' losses; in nats where logarithms occur.

  Attributes:
    critic: r, g -> what the critic minimises.
    generator: r, g -> what the generator minimises; all but `relativistic` look at g alone.
  """

  critic: Callable[[jax.Array, jax.Array], jax.Array]
  generator: Callable[[jax.Array, jax.Array], jax.Array]


def value(real_logit: jax.Array, fake_logit: jax.Array) -> jax.Array:
  """log D(x) + log(1 - D(G(z))), the integrand of V(G, D), D = sigmoid(f) (Goodfellow et al. 2014,
  eq. 1).

  At its best f = log p / q, and V = 2 JS(p || q) - 2 log 2.
  """
  return nn.log_sigmoid(real_logit) + nn.log_sigmoid(-fake_logit)


def minimax(fake_logit: jax.Array) -> jax.Array:
  """log(1 - D(G(z))), the generator's part of V (eq. 1); flat where D is sure of itself."""
  return nn.log_sigmoid(-fake_logit)


def non_saturating(fake_logit: jax.Array) -> jax.Array:
  """-log D(G(z)): the same fixed point, a stronger gradient early on (sec. 3)."""
  return -nn.log_sigmoid(fake_logit)


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> Losses:
  """1/2 (r - b)^2 + 1/2 (g - a)^2 against 1/2 (g - c)^2 (Mao et al. 2017, eq. 2).

  At its best f = (b p + a q) / (p + q). With b - c = 1 and b - a = 2 the generator, were its r
  counted too, descends Pearson's chi^2(p + q || 2 q) (sec. 3.2); the defaults are eq. 9.
  """
  return Losses(
    lambda r, g: 0.5 * (r - b) ** 2 + 0.5 * (g - a) ** 2, lambda r, g: 0.5 * (g - c) ** 2
  )


def hinge(r: jax.Array, g: jax.Array) -> jax.Array:
  """max(0, 1 - r) + max(0, 1 + g) (Lim & Ye 2017; Miyato et al. 2018, eq. 16).

  At its best f = sign(p - q), and this is 2 - 2 TV(p, q), TV the total variation in [0, 1].
  """
  return nn.relu(1.0 - r) + nn.relu(1.0 + g)


def relativistic(r: jax.Array, g: jax.Array) -> jax.Array:
  """-log sigmoid(r - g) of one pair (Huang et al. 2024, eq. 2); the generator's has r, g swapped.

  Only differences count: a critic has to tell fake images from the real ones beside them, so that
  none can be given up on. At its best f = log p / q up to a constant; log 2 at the equilibrium.
  """
  return -nn.log_sigmoid(r - g)


def wasserstein(r: jax.Array, g: jax.Array) -> jax.Array:
  """-(r - g), whose supremum over 1-Lipschitz f is W1(p, q) (Arjovsky et al. 2017, eq. 2)."""
  return g - r


def variational(
  activation: Callable[[jax.Array], jax.Array], conjugate: Callable[[jax.Array], jax.Array]
) -> Losses:
  """-(T(r) - F*(T(g))) against -F*(T(g)) (Nowozin et al. 2016, eq. 7).

  At its best T = F'(p / q), and the critic's loss is -D_F(p || q), D_F = E_q F(p / q).

  Args:
    activation: T, from real numbers into the domain of F* (table 6).
    conjugate: F*(T(v)) as a function of v: written as one, it cannot leave that domain by rounding.
  """
  return Losses(
    lambda r, g: conjugate(g) - activation(r),
    lambda r, g: -conjugate(g),
  )


LOSSES = {
  'minimax': Losses(lambda r, g: -value(r, g), lambda r, g: minimax(g)),
  'non_saturating': Losses(lambda r, g: -value(r, g), lambda r, g: non_saturating(g)),
  'least_squares': least_squares(),
  'hinge': Losses(hinge, lambda r, g: -g),
  'relativistic': Losses(relativistic, lambda r, g: relativistic(g, r)),
  'wasserstein': Losses(wasserstein, lambda r, g: -g),
  # KL(p || q): F(u) = u log u, F*(t) = exp(t - 1).
  'kullback_leibler': variational(lambda v: v, lambda v: jnp.exp(v - 1.0)),
  # KL(q || p): F(u) = -log u, F*(t) = -1 - log(-t), T(v) = -exp(-v).
  'reverse_kullback_leibler': variational(lambda v: -jnp.exp(-v), lambda v: v - 1.0),
  # E_q (p / q - 1)^2: F(u) = (u - 1)^2, F*(t) = t^2 / 4 + t.
  'pearson': variational(lambda v: v, lambda v: 0.25 * v**2 + v),
  # 2 JS(p || q): F*(t) = -log(2 - exp t), T(v) = log(2 sigmoid(v)).
  'jensen_shannon': variational(
    lambda v: nn.log_sigmoid(v) + jnp.log(2.0), lambda v: -nn.log_sigmoid(-v) - jnp.log(2.0)
  ),
}
