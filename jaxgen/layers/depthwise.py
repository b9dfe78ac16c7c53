"""Convolutions of each channel by a kernel of its own, which mix none of them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


@jax.jit  # so that all layers of one size are traced once
def convolve_depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """x (H, W, C), kernel (K, K, C), K odd -> (H, W, C), each channel by a kernel of its own.

  A sum of shifted images is one loop over pixels, where groups are one loop after another.
  """
  height, width, _ = x.shape
  side = len(kernel)
  edge = (side // 2, side // 2)
  x = jnp.pad(x, (edge, edge, (0, 0)))
  return sum(
    x[i : i + height, j : j + width] * kernel[i, j, None, None] for i, j in np.ndindex(side, side)
  )


class DepthwiseConvolution(nn.Module):
  """Convolution of each channel by a kernel of its own, as `nn.Conv` of as many groups, no bias.

  Attributes:
    side: of the kernel (side, side, 1, C); odd.
    dtype: of the computation; parameters are float32.
  """

  side: int = 3
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, C)."""
    shape = (self.side, self.side, 1, x.shape[-1])
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    return convolve_depthwise(x.astype(self.dtype), kernel[:, :, 0].astype(self.dtype))
