"""Codes by descent through decoders, against least squares and among several hollows."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.latents.projection import projection

RNG = np.random.default_rng(0)


def test_codes_of_a_linear_decoder_are_those_of_least_squares() -> None:
  matrix, x = jnp.float32(RNG.normal(size=(6, 2))), RNG.normal(size=(3, 2, 1))
  encode = projection(lambda params, z, key: (params @ z).reshape(3, 2, 1), (2,), starts=1)
  expected, *_ = np.linalg.lstsq(np.asarray(matrix, np.float64), x.ravel(), rcond=None)
  found = jax.jit(encode)(matrix, jnp.float32(x), jax.random.key(0))
  np.testing.assert_allclose(found, expected, atol=0.01)


def test_the_best_of_several_descents_is_taken() -> None:
  """(z^2 - 1)^2 + z / 5 has two minima, the lower one at z < 0."""

  def decode(params: None, z: jax.Array, key: jax.Array) -> jax.Array:
    return jnp.sqrt((z**2 - 1.0) ** 2 + z / 5.0 + 1.0)

  keys = jax.random.split(jax.random.key(0), 20)
  for starts, always in ((1, False), (8, True)):
    encode = projection(decode, (1,), starts=starts)
    found = jax.jit(jax.vmap(lambda key: encode(None, jnp.zeros(1), key)))(keys)  # noqa: B023
    assert (found < 0.0).all() == always
