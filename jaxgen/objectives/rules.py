"""What an objective must keep to, looked up in its traces: nothing is computed.

The tests hold the models here to it; a user's own package is held to it when it is built.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.errors import UserError
from jaxgen.objectives.base import DEVICES, Example, Objective


def check(objective: Objective, config: ml_collections.ConfigDict, facts: Facts) -> None:
  """Traces `init`, `update`, `evaluate` and `sample`, and codes and diagnosis where there are any.

  Raises:
    UserError: one of them breaks a rule, which the message names.
  """
  name = config.objective.name
  key, label = jax.random.key(0), jax.ShapeDtypeStruct((), jnp.int32)
  image = jax.ShapeDtypeStruct(facts.image_shape, jnp.float32)
  with sentences(name), jax.numpy_rank_promotion('raise'):
    params, memory = state = jax.eval_shape(objective.init, key)
    share = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct((2, config.batch_size // 2, *leaf.shape), leaf.dtype),
      Example(image, label, label),
    )
    keys = jax.eval_shape(lambda: jax.random.split(key, share.row.shape))
    update = jax.vmap(
      objective.update, in_axes=(None, None, 0, 0, None), out_axes=None, axis_name=DEVICES
    )
    *after, metrics = jax.eval_shape(update, params, memory, share, keys, label)
    require_same(name, state, tuple(after))
    found = jax.eval_shape(objective.evaluate, params, Example(image, label, label), key)
    if objective.diagnose:
      some = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape[2:]), leaf.dtype), share
      )
      found |= jax.eval_shape(objective.diagnose, params, some, key)
    for metric, value in {**metrics, **found}.items():
      if value.shape:
        raise UserError(f'objective {name!r}: the metric {metric!r} is {value}, not one number')
    pictures = {'sample': jax.eval_shape(objective.sample, params, label, key)}
    if objective.encode and objective.decode:
      latent = jax.eval_shape(objective.encode, params, image, key)
      pictures['decoded code'] = jax.eval_shape(objective.decode, params, latent, key)
    for what, drawn in pictures.items():
      if drawn.shape != facts.image_shape:
        raise UserError(f'objective {name!r}: a {what} is {drawn.shape}, not {facts.image_shape}')


@contextmanager
def sentences(name: str) -> Iterator[None]:
  """Says in a sentence which rule an error of a trace is about; others pass."""
  try:
    yield
  except (NameError, TypeError, ValueError) as error:
    for words, rule in RULES.items():
      if words in str(error):
        raise UserError(f'objective {name!r} {rule} ({str(error).splitlines()[0]})') from error
    raise


RULES = {
  'unbound axis name: examples': 'looks at the whole batch, as a batch normalisation does, of '
  'which reduction=ordered and accumulate compute parts apart: use reduction=mean, accumulate=1',
  'rank_promotion': 'adds or multiplies arrays of different ranks, which hides mistakes: say which '
  'axes are new, as in x[None]',
  'positional argument': 'has a function whose arguments are not those that `Objective` lists',
  'out_axes': 'returns from `update` what differs between devices: take means by `descend` or '
  '`average`, and collect by `gather`',
}


def require_same(name: str, before: Any, after: Any) -> None:
  """Raises UserError where params or memory change in structure, shape or type in an update."""
  known, new = (
    {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    for tree in (before, after)
  )
  for path in sorted(known.keys() | new.keys()):
    old, now = known.get(path), new.get(path)
    if old is None or now is None or (old.shape, old.dtype) != (now.shape, now.dtype):
      raise UserError(
        f'objective {name!r}: (params, memory){path} is {named(old)} after `init` and {named(now)} '
        'after `update`; every update must leave all as it was'
      )


def named(leaf: jax.ShapeDtypeStruct | None) -> str:
  """Type and shape in a word: float32[3, 4]."""
  return 'nothing' if leaf is None else f'{leaf.dtype}{list(leaf.shape)}'
