"""The 3x3 convolution of one image, with gradients that stay fast inside loops on a CPU.

XLA's CPU compiler hands a convolution to its fast library only where it is written in one standard
form (NHWC x HWIO -> NHWC, nothing reversed). It brings others into that form at the top level of
a program only, not inside `scan`; there the gradients that JAX derives run as naive loops, 20 to
100 times slower. So both gradients are written out here: that of the input is itself a
convolution in standard form, that of the kernel is nine matrix products. On accelerators the
ordinary convolution and its ordinary gradients are used.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """(H, W, C), (3, 3, C, O) -> (H, W, O), padded with zeros; XLA's own convolution."""
  layout = ('NHWC', 'HWIO', 'NHWC')
  return jax.lax.conv_general_dilated(x[None], kernel, (1, 1), 'SAME', dimension_numbers=layout)[0]


def kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
  """Gradient in the kernel, from the input (H, W, C) and the output's gradient g (H, W, O)."""
  height, width, _ = x.shape
  x = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
  shifted = [x[i : i + height, j : j + width] for i in range(3) for j in range(3)]
  products = [jnp.tensordot(s, g, axes=((0, 1), (0, 1))) for s in shifted]
  return jnp.stack(products).reshape(3, 3, *products[0].shape)


@jax.custom_vjp
def convolve_on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`convolve`, with gradients in forms that XLA's CPU compiler knows everywhere."""
  return convolve(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return convolve(x, kernel), (x, kernel)


def _backward(residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
  x, kernel = residuals
  return convolve(g, kernel[::-1, ::-1].swapaxes(2, 3)), kernel_gradient(x, g)


convolve_on_cpu.defvjp(_forward, _backward)


class Convolution(nn.Module):
  """3x3 convolution with bias; parameters as those of `nn.Conv`.

  Attributes:
    features: channels of the output.
    kernel_init: initialiser of the kernel (3, 3, C, features).
    dtype: of the computation; parameters are float32.
  """

  features: int
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, features)."""
    kernel = self.param('kernel', self.kernel_init, (3, 3, x.shape[-1], self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    x, kernel, bias = x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype)
    x = jax.lax.platform_dependent(x, kernel, cpu=convolve_on_cpu, default=convolve)
    return x + bias[None, None]
