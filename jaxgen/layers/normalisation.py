"""Normalisation over the batch, by layers that still take one example."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

BATCH_AXES = ('examples', 'devices')  # the mapped axes under which a batch is trained on
STATISTICS = 'batch_stats'  # the collection of variables that remembers what was seen
MOMENTUM = 0.9  # of that memory


class BatchNorm(nn.Module):
  """Normalises each channel over the whole batch on all devices (Ioffe & Szegedy 2015).

  Trains where its statistics may change, and else uses those that it has: so a network with it is
  called like any other, and `apply(..., mutable=[STATISTICS])` returns the new ones.

  Attributes:
    dtype: of the output; moments are taken in float32.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(..., C) -> (..., C), of one example."""
    return nn.BatchNorm(
      use_running_average=not self.is_mutable_collection(STATISTICS),
      axis_name=BATCH_AXES,
      momentum=MOMENTUM,
      dtype=self.dtype,
    )(x)


def standing(statistics: Any) -> Any:
  """The moments of one batch, from what a network made of it after statistics of zero."""
  return jax.tree.map(lambda moment: moment / (1.0 - MOMENTUM), statistics)
