"""What keeps a critic from growing without bounds: on its weights, or on its slope.

Symbols: f critic, x real, G(z) fake, grad f the gradient in the image, its slope |grad f|.
Penalties are integrands for one real and one fake image; they need a critic whose output is a
function of one image alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgen.layers.normalisation import STATISTICS
from jaxgen.objectives.adversarial.players import Critic
from jaxgen.objectives.base import Image, Key, Params

Penalty = Callable[[Critic, Image, Image, Key], jax.Array]  # f, x, G(z), key -> scalar


def slope(f: Critic, real: Image, fake: Image, key: Key) -> jax.Array:
  """|grad f| at a point drawn uniformly between x and G(z) (Gulrajani et al. 2017, alg. 1)."""
  alpha = jax.random.uniform(key)
  gradient = jax.grad(f)(alpha * real + (1.0 - alpha) * fake)
  return optax.safe_norm(gradient, 0.0)  # whose own gradient at 0 is 0, not NaN


def squared_slope(f: Critic, image: Image) -> jax.Array:
  """|grad f|^2 at an image."""
  return jnp.sum(jax.grad(f)(image) ** 2)


def two_sided(slope: jax.Array) -> jax.Array:
  """(slope - 1)^2 (Gulrajani et al. 2017, eq. 3)."""
  return (slope - 1.0) ** 2


def one_sided(slope: jax.Array) -> jax.Array:
  """max(0, slope - 1)^2: a 1-Lipschitz f may be flat as well (Petzka et al. 2018, eq. 7)."""
  return jnp.maximum(0.0, slope - 1.0) ** 2


def gradient_penalty(weight: float) -> Penalty:
  """lambda (slope - 1)^2 between x and G(z)."""
  return lambda f, real, fake, key: weight * two_sided(slope(f, real, fake, key))


def lipschitz_penalty(weight: float) -> Penalty:
  """lambda max(0, slope - 1)^2 between x and G(z)."""
  return lambda f, real, fake, key: weight * one_sided(slope(f, real, fake, key))


def r1(weight: float) -> Penalty:
  """gamma / 2 |grad f(x)|^2 (Mescheder et al. 2018, eq. 9).

  Its authors' code leaves the half out: their reg_param of 10 is a gamma of 20.
  """
  return lambda f, real, fake, key: 0.5 * weight * squared_slope(f, real)


def r2(weight: float) -> Penalty:
  """gamma / 2 |grad f(G(z))|^2 (Mescheder et al. 2018, eq. 10)."""
  return lambda f, real, fake, key: 0.5 * weight * squared_slope(f, fake)


def r1_and_r2(weight: float) -> Penalty:
  """gamma / 2 (|grad f(x)|^2 + |grad f(G(z))|^2) (Huang et al. 2024, sec. 2.3)."""

  def penalty(f: Critic, real: Image, fake: Image, key: Key) -> jax.Array:
    del key
    return 0.5 * weight * (squared_slope(f, real) + squared_slope(f, fake))

  return penalty


PENALTIES = {
  'gradient_penalty': gradient_penalty,
  'lipschitz_penalty': lipschitz_penalty,
  'r1': r1,
  'r2': r2,
  'r1_and_r2': r1_and_r2,
}


def clip_weights(critic: Params, window: float) -> Params:
  """Weights and biases into [-window, window] (Arjovsky et al. 2017, alg. 1).

  Scales of normalisations, which begin at 1, into [-1, 1]: the small window would silence them,
  and the set of critics stays compact all the same. What was seen of batches is no weight.
  """

  def clip(path: tuple[Any, ...], weight: jax.Array) -> jax.Array:
    if path[0].key == STATISTICS:
      return weight
    limit = 1.0 if path[-1].key == 'scale' else window
    return jnp.clip(weight, -limit, limit)

  return jax.tree_util.tree_map_with_path(clip, critic)
