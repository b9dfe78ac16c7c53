"""The state that a run has reached, by its config."""

from pathlib import Path

import jax
import ml_collections

from jaxgen import configuration, objectives
from jaxgen.datasets.splits import Facts
from jaxgen.devices.parallel import TrainState, initial_state
from jaxgen.errors import UserError
from jaxgen.objectives.base import Objective, Params
from jaxgen.training import checkpoint
from jaxgen.training.checkpoint import BEST, FOLDERS, LAST
from jaxgen.training.workdir import facts_of


def trained(
  config: ml_collections.ConfigDict, workdir: Path, which: str = LAST
) -> tuple[Objective, Facts, TrainState]:
  """The objective of a config, its data's facts, and the workdir's newest whole or best checkpoint.

  Raises:
    UserError: there is no checkpoint, or it is of another architecture.
  """
  facts = facts_of(workdir)
  objective = objectives.find_objective(config, facts)
  template = jax.eval_shape(lambda: initial_state(objective, config.seed))
  state, _ = checkpoint.restore(workdir / FOLDERS[which], template)
  if state is None and which == BEST:
    raise UserError(
      f'{workdir} holds no best checkpoint: none is kept before an evaluation, or where '
      f'config.checkpoint.best={config.checkpoint.best!r} names no metric of it'
    )
  if state is None:
    raise UserError(f'{workdir} holds no checkpoint: train first, with --mode=train')
  # Older checkpoints hold averages of what is no longer averaged.
  ema = jax.tree.map(
    lambda wanted, average, newest: average if wanted else newest,
    *(objective.averaged, state.ema, state.params),
  )
  return objective, facts, state._replace(ema=ema)


def begin_from(
  config: ml_collections.ConfigDict, workdir: Path, objective: Objective
) -> Params | None:
  """The averaged parameters of the run that `config.init_from` names, if this one begins with them.

  None where none is named, or where this one has begun already.

  Raises:
    UserError: the folder is not that of a run, or its parameters are of another architecture.
  """
  if not config.init_from or checkpoint.steps(workdir / FOLDERS[LAST]):
    return None
  source = Path(config.init_from)
  found = trained(configuration.load(None, source, []), source)[2].ema
  expected, _ = jax.eval_shape(objective.init, jax.random.key(0))
  checkpoint.compare(*map(checkpoint.specification, (found, expected)), source)
  return found
