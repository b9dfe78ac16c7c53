"""The 3x3 convolution of one image, with gradients that stay fast inside loops on a CPU.

XLA's CPU compiler hands a convolution to its fast library only where it is written in one standard
form (NHWC x HWIO -> NHWC, nothing reversed). It brings others into that form at the top level of
a program only, not inside `scan`, where the gradients that JAX derives therefore run as naive
loops, 20 to 100 times slower. So both gradients are written out here: that of the input is itself
a convolution in standard form, that of the kernel is nine matrix products. On accelerators the
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


def neighbours(x: jax.Array) -> list[jax.Array]:
  """(H, W, C) -> nine (H, W, C): what the image shows at the nine places of a 3x3 kernel."""
  height, width, _ = x.shape
  x = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
  return [x[i : i + height, j : j + width] for i in range(3) for j in range(3)]


def convolve_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`convolve` as one matrix product, whose gradients are matrix products over the whole batch."""
  return jnp.concatenate(neighbours(x), axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


@jax.custom_vjp
def convolve_standard(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`convolve`, with gradients in forms that XLA's CPU compiler knows everywhere."""
  return convolve(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return convolve(x, kernel), (x, kernel)


def _backward(residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
  x, kernel = residuals
  products = [jnp.tensordot(shifted, g, axes=((0, 1), (0, 1))) for shifted in neighbours(x)]
  dx = convolve(g, kernel[::-1, ::-1].swapaxes(2, 3))
  return dx, jnp.stack(products).reshape(kernel.shape)


convolve_standard.defvjp(_forward, _backward)


def convolve_on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`convolve` in the form that trains fastest on a CPU.

  Under `vmap`, `convolve_standard` makes a kernel gradient for every image before it sums them:
  the better way until these (9 C O numbers) outgrow the patches (9 C H W numbers).
  """
  height, width, _ = x.shape
  small = height * width < kernel.shape[-1]
  return convolve_patches(x, kernel) if small else convolve_standard(x, kernel)


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
