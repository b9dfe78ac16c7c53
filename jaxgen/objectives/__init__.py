"""Generative models: a folder a family, a file a model with its equations, factory and `build`."""

import re
from typing import Any

import jax
import ml_collections
from jax.tree_util import tree_leaves_with_path

from jaxgen.datasets.splits import Facts
from jaxgen.errors import UserError, find_module
from jaxgen.layers.normalisation import STATISTICS
from jaxgen.objectives.base import Objective
from jaxgen.objectives.rules import check

# How Python says that a config's fields are not the arguments of what it configures.
MISFIT = re.compile(r'unexpected keyword argument|missing \d+ required|multiple values for')


def of_the_config(error: Exception) -> bool:
  """Whether it is a value that was refused, a field too many, or one that the config lacks."""
  if isinstance(error, AttributeError | KeyError):
    trace = error.__traceback__
    while trace.tb_next:
      trace = trace.tb_next
    return 'ml_collections' in trace.tb_frame.f_code.co_filename
  return isinstance(error, ValueError) or bool(MISFIT.search(str(error)))


def require_no_statistics_but_of_players(params: Any) -> None:
  """Raises ValueError where networks normalise over the batch, and are none of a GAN's.

  Only a game updates their statistics; another objective's optimizer would descend on them.
  """
  for path, _ in tree_leaves_with_path(params):
    names = [getattr(part, 'key', '') for part in path]
    if STATISTICS in names and names[0] not in ('generator', 'critic'):
      raise ValueError(
        'a network normalises over the batch, which only GANs do here: choose another '
        'network.name, as convolutional'
      )


def find_objective(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The objective that the config names, for data of which this is known.

  Raises:
    UserError: no such objective; hyperparameters that do not fit it, the network or the data; or a
      user's own that breaks one of the `rules`.
  """
  module = find_module('jaxgen.objectives', config.objective.name, 'build')
  try:
    objective = module.build(config, facts)
    if not isinstance(objective, Objective):
      raise ValueError(f'its build returned {type(objective).__name__}, not an Objective')
    objective = objective._replace(init=jax.jit(objective.init))  # JAX keeps what it has traced
    params, _ = jax.eval_shape(objective.init, jax.random.key(0))  # the network's own checks
    if '.' not in config.objective.name:
      require_no_statistics_but_of_players(params)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    if not of_the_config(error):
      raise  # a fault of the program, which its author wants to see whole
    message = str(error)
    if isinstance(error, AttributeError | KeyError):
      cause = error.args[0]  # of an AttributeError, a KeyError
      message = f'the config lacks {cause.args[0] if isinstance(cause, KeyError) else cause}'
    raise UserError(
      f'objective {config.objective.name!r} cannot be built for images of shape '
      f'{facts.image_shape}: {message}'
    ) from error
  if '.' in config.objective.name:  # a user's own; those here are held to the rules by the tests
    check(objective, config, facts)
  return objective
