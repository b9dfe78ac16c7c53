"""Pictures that any model with codes can show, by its `encode` and `decode`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jaxgen.objectives.base import Example, Image, Key, Params

Figure = Callable[[Params, Example, Key], jax.Array]
Encode = Callable[[Params, Image, Key], jax.Array]
Decode = Callable[[Params, jax.Array, Key], Image]


def reconstructions(encode: Encode, decode: Decode) -> Figure:
  """Each row: an image, and what its code is decoded to."""

  def figure(params: Params, examples: Example, key: Key) -> jax.Array:
    def there_and_back(image: Image, key: Key) -> Image:
      there, back = jax.random.split(key)
      return decode(params, encode(params, image, there), back)

    keys = jax.random.split(key, len(examples.image))
    return jnp.stack([examples.image, jax.vmap(there_and_back)(examples.image, keys)], axis=1)

  return figure


def manifold(decode: Decode, side: int = 15) -> Figure:
  """What a grid of equally probable codes of two dimensions is decoded to.

  Kingma & Welling 2013, fig. 4.
  """

  def figure(params: Params, examples: Example, key: Key) -> jax.Array:
    del examples
    quantiles = norm.ppf((jnp.arange(side) + 0.5) / side)
    codes = jnp.stack(jnp.meshgrid(quantiles, quantiles), axis=-1)
    keys = jax.random.split(key, (side, side))
    return jax.vmap(jax.vmap(lambda z, key: decode(params, z, key)))(codes, keys)

  return figure
