"""Memory for time: what gradients need is computed a second time rather than kept."""

from typing import Any

import flax.linen as nn
import jax


def call(module: nn.Module, remat: bool, *inputs: jax.Array, **options: Any) -> jax.Array:
  """The output of a part of a network, with its parameters where they would be anyway.

  Args:
    module: the part.
    remat: whether gradients keep its inputs alone, and compute all inside it again (Chen et al.
      2016); values and gradients are the same.
    *inputs: its arrays.
    **options: its other arguments.
  """

  def run(module: nn.Module, *inputs: jax.Array) -> jax.Array:
    return module(*inputs, **options)

  return (nn.remat(run) if remat else run)(module, *inputs)
