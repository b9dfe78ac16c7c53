"""Convolutions whose gradients stay fast on a CPU.

XLA's CPU compiler hands a convolution to its fast library only where it is written in one standard
form (NHWC x HWIO -> NHWC, stride 1, nothing reversed). It brings others into that form at the top
level of a program only, not inside `scan`, where strided ones and the gradients that JAX derives
therefore run as naive loops, 20 to 100 times slower. So everything here comes down to `convolve`
in the standard form, with both gradients written out. That of the input is again `convolve`. That
of the kernel is a matrix product of a few images' patches at a time, while these still fit into
the processor's cache.

A sum over the batch is out of reach for a function of one image, and so for a `custom_vjp`. Hence
two primitives, which see the batch that `vmap` makes. Both are bilinear, and the gradients of each
are the two again: every mode and order of differentiation is defined.

Many kernels, each with a batch of its own, are a leading axis of both arrays. Groups of channels
are no more than that: a `vmap` over them. A CPU takes one kernel after another, as XLA has naive
loops for them too. On accelerators all is XLA's own.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Initializer = Callable[..., jax.Array]
Pair = tuple[jax.Array, jax.Array]
Axes = tuple[int | None, int | None]

GROUP = 2  # images whose patches a CPU holds at once: the fastest, or nearly, of 1 to 16


def convolve(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
  """x (N, H, W, C), kernel (K, K, C, O) -> (N, H + 2 padding - K + 1, W + 2 padding - K + 1, O).

  Or as many of each as there are kernels, on a first axis of all three.
  """
  return convolution_p.bind(x, kernel, padding=padding)


def input_gradient(g: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
  """The output's gradient g, the kernel -> the input's gradient."""
  turned = kernel[..., ::-1, ::-1, :, :].swapaxes(-1, -2)
  return convolve(g, turned, kernel.shape[-3] - 1 - padding)


def kernel_gradient(x: jax.Array, g: jax.Array, padding: int) -> jax.Array:
  """The input x (N, H, W, C), the output's gradient g -> the kernel's gradient (K, K, C, O)."""
  return kernel_gradient_p.bind(x, g, padding=padding)


def output_shape(x: Any, kernel: Any, padding: int) -> tuple[int, ...]:
  """Of a convolution."""
  height, width = (side + 2 * padding - kernel.shape[-3] + 1 for side in x.shape[-3:-1])
  return *x.shape[:-3], height, width, kernel.shape[-1]


def kernel_shape(x: Any, g: Any, padding: int) -> tuple[int, ...]:
  """Of the kernel that makes an output of g's shape from an input of x's."""
  side = x.shape[-3] + 2 * padding - g.shape[-3] + 1
  return *x.shape[:-4], side, side, x.shape[-1], g.shape[-1]


def xla_convolution(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
  """`convolve` by XLA; many kernels become groups of its channels."""
  if kernel.ndim == 5:
    return jax.vmap(partial(xla_convolution, padding=padding))(x, kernel)
  if len(kernel) == 1 and not padding:
    return x @ kernel[0, 0]
  layout = ('NHWC', 'HWIO', 'NHWC')
  edges = ((padding, padding), (padding, padding))
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), edges, dimension_numbers=layout)


def xla_kernel_gradient(x: jax.Array, g: jax.Array, padding: int) -> jax.Array:
  """`kernel_gradient` by XLA."""
  kernel = jax.ShapeDtypeStruct(kernel_shape(x, g, padding), x.dtype)
  (gradient,) = jax.linear_transpose(lambda kernel: xla_convolution(x, kernel, padding), kernel)(g)
  return gradient


def kernel_gradient_by_groups(x: jax.Array, g: jax.Array, padding: int) -> jax.Array:
  """`kernel_gradient` as a sum over groups of images, each one product with its patches.

  A group's patches are written over those of the group before.
  """
  side, _, channels, features = kernel_shape(x, g, padding)
  groups = tuple(a.reshape(-1, math.gcd(GROUP, len(a)), *a.shape[1:]) for a in (x, g))
  size = side**2 * channels

  def add(carry: Pair, group: Pair) -> tuple[Pair, None]:
    (total, patches), (x, g) = carry, group
    patches = write_patches(patches, x, side, padding)
    gradient = jnp.dot(
      g.reshape(-1, features).T, patches.reshape(-1, size), preferred_element_type=jnp.float32
    )
    return (total + gradient, patches), None

  start = jnp.zeros((features, size)), jnp.zeros((*groups[1].shape[1:4], size), x.dtype)
  (total, _), _ = jax.lax.scan(add, start, groups)
  return total.T.reshape(side, side, channels, features).astype(x.dtype)


def write_patches(patches: jax.Array, x: jax.Array, side: int, padding: int) -> jax.Array:
  """Writes what each output pixel sees of x into patches (N, H, W, K K C), its padding being 0."""
  _, height, width, _ = patches.shape
  for place, (i, j) in enumerate(np.ndindex(side, side)):
    down, right = i - padding, j - padding  # from an output's pixel to the input's
    rows = slice(max(0, down), min(height + down, x.shape[1]))
    columns = slice(max(0, right), min(width + right, x.shape[2]))
    start = (0, rows.start - down, columns.start - right, place * x.shape[3])
    patches = jax.lax.dynamic_update_slice(patches, x[:, rows, columns], start)
  return patches


def one_by_one(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
  """A function of one kernel's arrays, for those of many too."""

  def of_any(a: jax.Array, b: jax.Array, padding: int) -> jax.Array:
    if a.ndim == 4:
      return function(a, b, padding)
    return jax.lax.map(lambda pair: function(*pair, padding), (a, b))

  return of_any


def batched_convolution(arguments: Pair, axes: Axes, *, padding: int) -> tuple[jax.Array, int]:
  """With one kernel for all, a longer batch; with a kernel each, more kernels."""
  if axes[1] is not None:
    return more_kernels(convolve, arguments, axes, padding)
  x, kernel = arguments
  x = jnp.moveaxis(x, axes[0], -5)
  y = convolve(x.reshape(*x.shape[:-5], -1, *x.shape[-3:]), kernel, padding)
  return y.reshape(*x.shape[:-3], *y.shape[-3:]), y.ndim - 4


def batched_kernel_gradient(arguments: Pair, axes: Axes, *, padding: int) -> tuple[jax.Array, int]:
  """A gradient each."""
  return more_kernels(kernel_gradient, arguments, axes, padding)


def more_kernels(
  function: Callable[..., jax.Array], arguments: Pair, axes: Axes, padding: int
) -> tuple[jax.Array, int]:
  """What a batch holds an array each of goes along the axis of kernels."""
  size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
  a, b = (
    jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
    for a, axis in zip(arguments, axes, strict=True)
  )
  found = function(*(array.reshape(-1, *array.shape[-4:]) for array in (a, b)), padding)
  return found.reshape(*a.shape[:-4], *found.shape[-4:]), 0


def primitive(name: str, shape: Callable[..., tuple[int, ...]], **lowerings: Any) -> Primitive:
  """An operation of two arrays, which each platform computes in its way."""
  result = Primitive(name)
  result.def_impl(jax.jit(result.bind, static_argnames='padding'))
  result.def_abstract_eval(lambda a, b, padding: a.update(shape=shape(a, b, padding)))
  for platform, function in lowerings.items():
    lowering = mlir.lower_fun(function, multiple_results=False)
    mlir.register_lowering(result, lowering, None if platform == 'default' else platform)
  return result


convolution_p = primitive(
  'convolution', output_shape, default=xla_convolution, cpu=one_by_one(xla_convolution)
)
kernel_gradient_p = primitive(
  'kernel_gradient',
  kernel_shape,
  default=xla_kernel_gradient,
  cpu=one_by_one(kernel_gradient_by_groups),
)
ad.defbilinear(
  convolution_p,
  lambda g, x, kernel, padding: input_gradient(g, kernel, padding),
  lambda g, x, kernel, padding: kernel_gradient(x, g, padding),
)
ad.defbilinear(
  kernel_gradient_p,
  lambda kernel, x, g, padding: input_gradient(g, kernel, padding),
  lambda kernel, x, g, padding: convolve(x, kernel, padding),
)
batching.primitive_batchers[convolution_p] = batched_convolution
batching.primitive_batchers[kernel_gradient_p] = batched_kernel_gradient


def space_to_depth(x: jax.Array, factor: int) -> jax.Array:
  """(H, W, C) -> (H / factor, W / factor, factor^2 C)."""
  height, width, channels = x.shape
  x = x.reshape(height // factor, factor, width // factor, factor, channels)
  return x.swapaxes(1, 2).reshape(height // factor, width // factor, -1)


def depth_to_space(x: jax.Array, factor: int) -> jax.Array:
  """(H, W, factor^2 C) -> (factor H, factor W, C); the inverse of `space_to_depth`."""
  height, width, _ = x.shape
  x = x.reshape(height, width, factor, factor, -1)
  return x.swapaxes(1, 2).reshape(factor * height, factor * width, -1)


class Convolution(nn.Module):
  """Convolution padded with zeros; parameters and values as those of `nn.Conv`.

  Attributes:
    features: channels of the output.
    side: of the kernel (side, side, C / groups, features); odd.
    kernel_init: its initialiser.
    dtype: of the computation; parameters are float32.
    groups: that channels of input and output are divided into; each sees its own alone.
    use_bias: whether a number is added to every channel of the output.
  """

  features: int
  side: int = 3
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = jnp.float32
  groups: int = 1
  use_bias: bool = True

  def linear(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """All but the bias, of one group."""
    return convolve(x[None], kernel, self.side // 2)[0]

  def grouped(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """All but the bias."""
    if self.groups == 1:
      return self.linear(x, kernel)
    x, kernel = (a.reshape(*a.shape[:-1], self.groups, -1) for a in (x, kernel))
    y = jax.vmap(self.linear, in_axes=(-2, -2), out_axes=-2)(x, kernel)
    return y.reshape(*y.shape[:-2], -1)

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(H, W, C) -> (H, W, features).

    Raises:
      ValueError: channels that cannot be divided.
    """
    if x.shape[-1] % self.groups or self.features % self.groups:
      raise ValueError(
        f'{x.shape[-1]} and {self.features} channels cannot be divided into {self.groups} groups: '
        'let network.groups divide every entry of network.hidden'
      )
    shape = (self.side, self.side, x.shape[-1] // self.groups, self.features)
    kernel = self.param('kernel', self.kernel_init, shape)
    y = self.grouped(x.astype(self.dtype), kernel.astype(self.dtype))
    if not self.use_bias:
      return y
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    return y + bias.astype(self.dtype)[None, None]


class StridedConvolution(Convolution):
  """4x4 convolution of stride 2: (H, W, C) -> (H / 2, W / 2, features), as `nn.Conv`."""

  side: int = 4

  def linear(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride 2 over pixels is stride 1 over blocks of 2x2, of which the kernel covers 2x2."""
    x = space_to_depth(jnp.pad(x, ((1, 1), (1, 1), (0, 0))), 2)
    blocks = kernel.reshape(2, 2, 2, 2, *kernel.shape[2:]).swapaxes(1, 2)
    return convolve(x[None], blocks.reshape(2, 2, -1, kernel.shape[-1]))[0]


class TransposedConvolution(Convolution):
  """4x4 transposed convolution of stride 2: (H, W, C) -> (2 H, 2 W, features), as
  `nn.ConvTranspose`.
  """

  side: int = 4

  def linear(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Every 2x2 pixels of the input make the 2x2 pixels of the output that lie between them."""
    blocks = kernel.reshape(2, 2, 2, 2, *kernel.shape[2:])[:, ::-1, :, ::-1]
    blocks = blocks.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, x.shape[-1], -1)
    return depth_to_space(convolve(x[None], blocks, padding=1)[0], 2)[1:-1, 1:-1]
