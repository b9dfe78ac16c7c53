"""Floating-point operations of a traced computation."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def count(function: Callable[..., Any], *arguments: Any) -> float:
  """2 x the multiplications of all matrix products and convolutions, each turn of a loop counted.

  Where the computation branches, the dearest branch counts. The turns of a `while` loop are not
  known before it runs: it counts once, and the operations are then at least so many.
  """
  return total(jax.make_jaxpr(function)(*arguments).jaxpr)


def total(jaxpr: Jaxpr) -> float:
  """The operations of one computation."""
  return float(sum(map(operations, jaxpr.eqns)))


def operations(equation: Any) -> float:
  """The operations of one equation, with all that it calls."""
  name = equation.primitive.name
  if name == 'dot_general':
    (contracted, _), _ = equation.params['dimension_numbers']
    shape = equation.invars[0].aval.shape
    return 2.0 * equation.outvars[0].aval.size * math.prod(shape[i] for i in contracted)
  if name == 'conv_general_dilated':
    kernel = equation.invars[1].aval
    features = kernel.shape[equation.params['dimension_numbers'].rhs_spec[0]]
    return 2.0 * equation.outvars[0].aval.size * kernel.size / features
  if name in ('convolution', 'kernel_gradient'):  # of jaxgen.layers.convolution
    factor = equation.invars[1].aval
    return 2.0 * equation.outvars[0].aval.size * math.prod(factor.shape[-4:-1])
  inner = [total(body) for value in equation.params.values() for body in bodies(value)]
  if name == 'cond':
    return max(inner)
  return equation.params.get('length', 1) * sum(inner)


def bodies(value: Any) -> Iterator[Jaxpr]:
  """The computations in a parameter of an equation."""
  if isinstance(value, ClosedJaxpr):
    yield value.jaxpr
  elif isinstance(value, Jaxpr):
    yield value
  elif isinstance(value, tuple | list):
    for item in value:
      yield from bodies(item)
