"""How far a network is off at each step of a diffusion, as training sees it, for its variances.

The table stands beside the network among the parameters, since sampling needs it; its means are
over the last updates, since the network changes. No other pass over the data is needed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxgen.objectives import base
from jaxgen.objectives.base import Example, Key, Keys, Memory, Metrics, Params

KEPT = 0.999  # of what was seen, at each update: about a thousand count


def fresh(timesteps: int) -> Params:
  """Of a network that has not been looked at."""
  return {'error': jnp.zeros(timesteps + 1), 'looks': jnp.zeros(timesteps + 1)}


def look(t: jax.Array, error: jax.Array, timesteps: int) -> Metrics:
  """What one example adds, whose error at t was this."""
  there = jax.nn.one_hot(t, timesteps + 1)
  return {'error': there * error, 'looks': there}


def descent(
  loss: Callable[[Params, Example, Key], tuple[jax.Array, Metrics]],
  optimizer: optax.GradientTransformation,
) -> Callable[[Params, Memory, Example, Keys, jax.Array], tuple[Params, Memory, Metrics]]:
  """As `base.descent`, of a network beside its table; the loss's metrics are a `look`."""

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    del step
    table = params['errors']

    def of_network(network: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
      return loss({'network': network, 'errors': table}, example, key)

    network, memory, metrics = base.descend(
      of_network, optimizer, params['network'], memory, examples, keys
    )
    looks = {name: metrics.pop(name) for name in table}
    table = jax.tree.map(lambda old, new: KEPT * old + new, table, looks)
    return {'network': network, 'errors': table}, memory, metrics

  return update


def errors(table: Params) -> jax.Array:
  """The mean error at each t, (T + 1,); 1 where none was seen, as of a network that is silent."""
  seen = table['looks'] > 0.0
  return jnp.where(seen, table['error'] / jnp.where(seen, table['looks'], 1.0), 1.0)
