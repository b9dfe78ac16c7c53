"""Which keys a computation draws from: its trace, run with every key that a draw takes kept."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxgen.devices import flops

DRAWS, DERIVATIONS = ('random_bits', 'random_gamma'), ('random_split', 'random_fold_in')


class Keys(NamedTuple):
  """Data of keys, (N, 2) each: those drawn from, and those that others were made of."""

  drawn: list[jax.Array]
  derived: list[jax.Array]


def check_keys(function: Callable[..., Any], *arguments: Any) -> None:
  """Asserts that every key is drawn from once, or else serves to make others.

  JAX's own check follows keys through the program; this one compares them, and so sees that
  `fold_in(key, 0)` at two places is one key, and `split(key)[0]` the same one again.
  """
  with jax.debug_key_reuse(True):
    traced = jax.jit(function).trace(*arguments)

  def gather(*inputs: jax.Array) -> Keys:
    keys = Keys([], [])
    run(traced.jaxpr.jaxpr, traced.jaxpr.consts, inputs, keys)
    return Keys(*([data.reshape(-1, 2) for data in kind] for kind in keys))

  found = jax.jit(gather)(*jax.tree.leaves(arguments))
  drawn, derived = (np.concatenate([np.zeros((0, 2), np.uint32), *kind]) for kind in found)
  assert len(np.unique(drawn, axis=0)) == len(drawn), 'two draws from one key'
  both = {*map(tuple, drawn.tolist())} & {*map(tuple, derived.tolist())}
  assert not both, 'a key that others are made of is drawn from'


def run(jaxpr: Jaxpr, constants: Sequence[Any], inputs: Sequence[Any], keys: Keys) -> list[Any]:
  """The results of a computation, whose keys are added to `keys`."""
  values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *inputs), strict=True))
  for equation in jaxpr.eqns:
    operands = [v.val if isinstance(v, Literal) else values[v] for v in equation.invars]
    name = equation.primitive.name
    inner = [v for v in equation.params.values() if isinstance(v, ClosedJaxpr | Jaxpr)]
    if name in DRAWS + DERIVATIONS:
      kind = keys.drawn if name in DRAWS else keys.derived
      kind.append(jax.random.key_data(operands[0]))
    if name == 'scan':
      results = run_loop(equation.params, operands, keys)
    elif len(inner) == 1 and len(opened(inner[0])[0].invars) == len(operands):
      results = run(*opened(inner[0]), operands, keys)
    else:
      bodies = [str(body) for value in equation.params.values() for body in flops.bodies(value)]
      assert not any(draw in body for draw in DRAWS for body in bodies), f'a draw inside {name}'
      results = equation.primitive.bind(*operands, **equation.params)
      results = results if equation.primitive.multiple_results else [results]
    values |= zip(equation.outvars, results, strict=True)
  return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def run_loop(fields: dict[str, Any], operands: list[Any], keys: Keys) -> list[Any]:
  """The results of a `scan`, whose turns' keys are added to `keys`."""
  fixed, carried = fields['num_consts'], fields['num_carry']

  def turn(carry: list[Any], x: list[Any]) -> tuple[list[Any], tuple[list[Any], Keys]]:
    here = Keys([], [])
    results = run(*opened(fields['jaxpr']), [*operands[:fixed], *carry, *x], here)
    return results[:carried], (results[carried:], here)

  start, rows = operands[fixed : fixed + carried], operands[fixed + carried :]
  carry, (stacked, found) = jax.lax.scan(
    turn, start, rows, fields['length'], reverse=fields['reverse']
  )
  for kind, added in zip(keys, found, strict=True):
    kind.extend(added)
  return [*carry, *stacked]


def opened(jaxpr: ClosedJaxpr | Jaxpr) -> tuple[Jaxpr, Sequence[Any]]:
  """A computation and its constants."""
  return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, ClosedJaxpr) else (jaxpr, ())
