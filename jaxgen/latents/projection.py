"""Codes of models that only decode, as a GAN does: found by gradient descent through the decoder.

Each is the best of several descents of |x - G(z)|^2 by Adam from samples of N(0, I) (Creswell &
Bharath 2016, alg. 1).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxgen.objectives.base import Image, Key, Params

STEPS, RATE, STARTS = 300, 0.1, 4


def projection(
  decode: Callable[[Params, jax.Array, Key], Image],
  shape: tuple[int, ...],
  steps: int = STEPS,
  starts: int = STARTS,
) -> Callable[[Params, Image, Key], jax.Array]:
  """An `encode` for this `decode`: params, image, key -> the latent whose picture is nearest.

  Args:
    decode: params, latent, key -> image; its key is held fixed.
    shape: of a latent.
    steps: of a descent; its rate falls to 0 as a cosine.
    starts: how many descents the best is taken of.
  """
  optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    def error(z: jax.Array) -> jax.Array:
      return jnp.sum((image - decode(params, z, jax.random.key(0))) ** 2)

    def step(carry: tuple[jax.Array, optax.OptState], _: None) -> tuple[tuple, None]:
      z, state = carry
      change, state = optimizer.update(jax.grad(error)(z), state)
      return (optax.apply_updates(z, change), state), None

    def descend(z: jax.Array) -> tuple[jax.Array, jax.Array]:
      (z, _), _ = jax.lax.scan(step, (z, optimizer.init(z)), None, steps)
      return z, error(z)

    found, errors = jax.vmap(descend)(jax.random.normal(key, (starts, *shape)))
    return found[jnp.argmin(errors)]

  return encode
