"""The state that a run has reached, by its config."""

import json
from pathlib import Path
from typing import Any

import jax
import ml_collections
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path

from jaxgen import configuration, networks, objectives
from jaxgen.datasets.splits import Dataset, Facts
from jaxgen.devices import processes
from jaxgen.devices.parallel import TrainState, initial_state, purpose_key
from jaxgen.errors import UserError
from jaxgen.fields import first_stage
from jaxgen.objectives.base import Objective, Params
from jaxgen.training import checkpoint
from jaxgen.training.checkpoint import BEST, FOLDERS, LAST
from jaxgen.training.workdir import facts_of, require_data, require_unfinished


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
  config: ml_collections.ConfigDict, workdir: Path, objective: Objective, dataset: Dataset
) -> Params | None:
  """The averaged parameters that this run begins with, where they are those of other runs.

  All are those of the run that `config.init_from` names, beside new ones where networks grow; an
  autoencoder or a teacher that stays as it is, those of `config.objective.autoencoder` or
  `.teacher`. None where none is named, or where this one has begun already.

  Raises:
    UserError: this one has finished and lost its checkpoints; the folder is not that of a run, its
      parameters are of another architecture, the model keeps no parameters of before, or an
      autoencoder or a teacher was trained on other data.
  """
  if checkpoint.steps(workdir / FOLDERS[LAST]):
    return None
  require_unfinished(workdir)
  found = None
  if config.init_from:
    if not any(jax.tree.leaves(objective.averaged)):
      raise UserError(
        f'--init_from={config.init_from}: {config.objective.name} is not averaged, as its updates '
        'replace its parameters, so that nothing would be left of what it begins with'
      )
    source = Path(config.init_from)
    found = trained(configuration.load(None, source, []), source)[2].ema
    found = grown_from(found, source, objective, config.seed)
  if section := first_stage(config):
    source = Path(config.objective[section])
    require_data(source, dataset)
    found = found or first_parameters(objective, config.seed)
    state, meant = trained(config[section], source)[2], config[section].get('step')
    if meant not in (None, int(state.step)):
      raise UserError(
        f'{source} gives step {state.step} now, and this run is for step {meant} of it: begin '
        'anew in another --workdir'
      )
    found = found | {section: state.ema}
  return found


def grown_from(found: Params, source: Path, objective: Objective, seed: int) -> Params:
  """The parameters that a run begins with where it begins with those of another.

  They are the other's; where networks grow, with new ones beside them.

  Args:
    found: the other's.
    source: its folder.
    objective: of the run that begins.
    seed: of that run.

  Raises:
    UserError: the other's differ in names or shapes from those expected here, or something is new
      in networks that do not grow.
  """
  expected, _ = jax.eval_shape(objective.init, jax.random.key(0))
  there, here = map(checkpoint.specification, (found, expected))
  new = here.keys() - there.keys()
  if objective.networks and all(map(networks.grows, objective.networks.values())):
    here = {name: array for name, array in here.items() if name in there}
  checkpoint.compare(there, here, source)
  if not new:
    return found
  arrays = {keystr(path): leaf for path, leaf in tree_leaves_with_path(found)}
  grown = tree_map_with_path(
    lambda path, leaf: arrays.get(keystr(path), leaf), first_parameters(objective, seed)
  )
  theirs, both = (sum(leaf.size for leaf in jax.tree.leaves(p)) for p in (found, grown))
  print(f'{theirs:,} parameters are those of {source}, {both - theirs:,} are new', flush=True)
  return grown


def first_parameters(objective: Objective, seed: int) -> Params:
  """Those of a run that begins with no other's."""
  return jax.device_get(jax.jit(objective.init)(purpose_key(seed, 'init'))[0])


def complete(config: ml_collections.ConfigDict, workdir: Path) -> None:
  """Puts the config of the run that `objective.autoencoder` names into the section `autoencoder`.

  Or, where another is the first stage of a model, what that field names into that section.

  A workdir keeps that config, as its checkpoints keep the parameters, so that a run that has begun
  needs the other folder no more.

  Raises:
    UserError: none is named, it is not the folder of a run, or that one saw the pixels otherwise.
  """
  section = first_stage(config)
  if not section:
    return
  with processes.together():  # the others need not see the folders
    found = first_stage_config(config, workdir, section) if processes.first() else None
  found = json.loads(processes.text_from_first(json.dumps(found)))
  if found is not None:  # else the run in the workdir is another one, as will be said
    with config.unlocked():
      config[section] = ml_collections.ConfigDict(configuration.tuples(found))


def first_stage_config(
  config: ml_collections.ConfigDict, workdir: Path, section: str
) -> dict[str, Any] | None:
  """The config of a run's first stage, and `step`, of which its parameters are.

  As the workdir keeps it where the run has begun, None where that is a run without one.

  Raises:
    UserError: as `complete`.
  """
  if not config.objective[section]:
    raise UserError(
      f"objective.{section}='' must name the folder of a trained {section}, as in "
      f'--config.objective.{section}=runs/{config[section].experiment or section}-digits-seed0'
    )
  source = Path(config.objective[section])
  if (workdir / configuration.FILE).exists():
    found = configuration.read(workdir).get(section)
  else:
    found = configuration.load(None, source, [])
    done = checkpoint.steps(source / FOLDERS[LAST])
    with found.unlocked():
      found.step = max(done, default=found.num_steps)
  if found is not None and found.data.binarize != config.data.binarize:
    raise UserError(
      f'data.binarize={config.data.binarize}, and the {section} in {source} was trained with '
      f'{found.data.binarize}: choose that'
    )
  return None if found is None else found.to_dict()
