"""Whether a run can be had again: its last steps from an older checkpoint, bit by bit."""

from functools import partial
from pathlib import Path

import jax
import ml_collections
import numpy as np

from jaxgen import checks, configuration, datasets, objectives
from jaxgen.datasets import order
from jaxgen.devices import parallel
from jaxgen.errors import UserError
from jaxgen.evaluation.provenance import changes, circumstances
from jaxgen.fields import first_stage
from jaxgen.training import checkpoint, sums
from jaxgen.training.checkpoint import FOLDERS, LAST
from jaxgen.training.workdir import RECORD, read_record, require_data


def verify(config: ml_collections.ConfigDict, workdir: Path, steps: int = 0) -> tuple[bool, str]:
  """Trains the last steps of a run again and compares all of its state; writes nothing.

  Args:
    config: of the run.
    workdir: of the run.
    steps: how many; 0 for those since the checkpoint before the last.

  Returns:
    Whether every bit of every array is the same, and that in a sentence.

  Raises:
    UserError: no checkpoint lies so many steps before the last, or one of the two is damaged.
  """
  configuration.agree(config, workdir)
  checks.check_division(config, jax.device_count())
  start, end = interval(config, workdir, steps)
  dataset = datasets.load(config.data)
  require_data(workdir, dataset)
  model = objectives.find_objective(config, dataset.facts)
  begin = partial(parallel.initial_state, model, config.seed)
  template = jax.eval_shape(begin)
  expected = whole(workdir, end, template)
  state = whole(workdir, start, template) if start else jax.device_get(jax.jit(begin)())
  update = parallel.updates(model, config)
  state = parallel.on_all_devices(state)
  read = partial(parallel.read_batches, dataset.train, config)
  for _, batches in order.prefetch(read, range(start, end, config.steps_per_call)):
    state, _ = update(state, batches)
  different = differences(jax.device_get(state), expected)
  count = len(jax.tree.leaves(expected))
  again = f'steps {start + 1} to {end} of {workdir}, trained again'
  if not different:
    return True, f'{again}: all {count} arrays have the same bits'
  before = read_record(workdir / RECORD).get('starts', [])
  moved = '; '.join(changes(before[-1], circumstances())) if before else ''
  cause = f'Changed since: {moved}' if moved else 'Nothing known has changed since'
  return (
    False,
    f'{again}: {len(different)} of {count} arrays differ, {different[0]} first. {cause}.',
  )


def interval(config: ml_collections.ConfigDict, workdir: Path, steps: int) -> tuple[int, int]:
  """The step to begin with, 0 for the beginning of the run, and the last one.

  Raises:
    UserError: there are no two such steps.
  """
  saved = checkpoint.steps(workdir / FOLDERS[LAST])
  if not saved:
    raise UserError(f'{workdir} holds no checkpoint: train first, with --mode=train')
  older = [0, *saved[:-1]]
  if config.init_from or first_stage(config):  # it began with parameters of another run
    older = saved[:-1]
  known = ' or '.join(str(saved[-1] - start) for start in reversed(older))
  if not older or (steps and saved[-1] - steps not in older):
    raise UserError(
      f'no checkpoint of {workdir} lies {steps or "some"} steps before its last, {saved[-1]}: '
      + (f'--steps can be {known}' if known else 'let config.checkpoint.keep be at least 2')
    )
  return saved[-1] - steps if steps else older[-1], saved[-1]


def whole(workdir: Path, step: int, template: parallel.TrainState) -> parallel.TrainState:
  """The state of a step. Raises UserError where it is damaged or of another architecture."""
  folder = (workdir / FOLDERS[LAST] / str(step)).resolve()
  reason = sums.damage(folder)
  if reason:
    raise UserError(f'the checkpoint of step {step} in {workdir} is damaged: {reason}')
  return checkpoint.read(folder, template)


def differences(found: parallel.TrainState, expected: parallel.TrainState) -> list[str]:
  """The paths of arrays whose bits differ, each with the largest difference."""
  pairs = zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True)
  return [
    f'{jax.tree_util.keystr(path)} by up to {np.max(np.abs(np.subtract(one, other))):.3g}'
    for (path, one), other in pairs
    if np.asarray(one).tobytes() != np.asarray(other).tobytes()
  ]
