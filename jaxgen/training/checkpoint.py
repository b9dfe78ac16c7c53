"""Checkpoints: Orbax writes the arrays, SHA-256 sums prove them whole, a rename publishes them.

Orbax restores flipped bits without a word. So a step is written to a folder beside the others,
summed, and only then renamed to its number: what bears a number is finished, and what does not
match its sums is damaged. `sha256sum -c SHA256SUMS` in a step's folder does the same check.

Of several processes the first saves and restores for all: the state is the same on each of them.
"""

import json
import logging
import os
import re
import shutil
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxgen.errors import UserError, first_line
from jaxgen.training.sums import SUMS, damage, digests

ARRAYS = 'arrays.json'  # shape and type of each array, to compare before anything is read
UNFINISHED = 'unfinished'  # the folder of a step that is being written
LAST, BEST = 'last', 'best'
FOLDERS = {LAST: 'checkpoints', BEST: 'best'}  # below a workdir
ONE = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
RENAMED = {'memory': 'opt_state'}  # parts of a training state, and what they were called before
log = logging.getLogger(__name__)

# What fails in Orbax's threads reaches us as an exception; that they also log its traceback, and
# then one for each array that finds its event loop closed, would only bury our message.
logging.getLogger('absl').addFilter(lambda record: not record.exc_info)


def orbax_of_one() -> ocp.Checkpointer:
  """Orbax, which else would wait in the first process for all others to save as well."""
  handler = ocp.StandardCheckpointHandler(multiprocessing_options=ONE)
  return ocp.Checkpointer(handler, multiprocessing_options=ONE)


def unraisable(details: Any, hook: Callable[[Any], Any] = sys.unraisablehook) -> None:
  """Passes on what threads could not raise, but for the one complaint."""
  if str(details.exc_value) != 'Event loop is closed':
    hook(details)


sys.unraisablehook = unraisable


class Checkpoints:
  """The checkpoints of the run that this process trains; a context manager that ends in `wait`."""

  def __init__(self, folder: Path, keep: int) -> None:
    """Keeps the newest `keep` steps in `folder`, and clears away what a killed run left there."""
    self.folder, self.keep = folder.resolve(), keep
    self._thread = ThreadPoolExecutor(max_workers=1)
    self._saving: Future[None] | None = None
    self.folder.mkdir(parents=True, exist_ok=True)
    self._clear()

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    try:
      self.wait()
    finally:
      self._thread.shutdown()

  def wait(self) -> None:
    """Returns when all that was saved is safe.

    Raises:
      UserError: it could not be written; the steps before it are as they were.
    """
    if self._saving is not None:
      saving, self._saving = self._saving, None
      saving.result()

  def save(self, step: int, state: Any) -> None:
    """Starts saving a pytree of arrays as a step, once the step before it is safe."""
    self.wait()
    if step not in steps(self.folder):
      self._saving = self._thread.submit(self._write, step, jax.device_get(state))

  def keep_best(self, step: int) -> None:
    """Keeps a saved step beside the others, in place of what was kept before.

    Its files are the same ones by another name, which takes no time and, for now, no room; or
    copies, where a file system has no such names.
    """
    self.wait()
    best = self.folder.parent / FOLDERS[BEST]
    for left in best.glob(f'{UNFINISHED}*'):
      shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(self.folder / str(step), best / UNFINISHED, copy_function=linked)
    before = [old for old in steps(best) if old != step]
    remove(best / str(step))
    (best / UNFINISHED).rename(best / str(step))
    for old in before:
      remove(best / str(old))

  def _write(self, step: int, state: Any) -> None:
    unfinished = self.folder / UNFINISHED
    try:
      with orbax_of_one() as orbax:
        orbax.save(unfinished, args=ocp.args.StandardSave(state))
      (unfinished / ARRAYS).write_text(json.dumps(specification(state), indent=1))
      sums = ''.join(f'{digest}  {name}\n' for name, digest in digests(unfinished).items())
      (unfinished / SUMS).write_text(sums)
      unfinished.rename(self.folder / str(step))
      for old in steps(self.folder)[: -self.keep]:
        remove(self.folder / str(old))
    except Exception as error:  # Orbax reports a full disk as any of several types
      self._clear()  # so that what did not fit does not fill the disk
      reason = re.sub(r' \[source locations=.*|.*(?=Failed writing)', '', first_line(error))[:400]
      raise UserError(
        f'cannot save the checkpoint of step {step} in {self.folder}: {reason}\n'
        'The checkpoints before it are kept. Once there is room to write, the same command resumes.'
      ) from error

  def _clear(self) -> None:
    """Removes what was never finished, under whatever name Orbax gave it on the way.

    Orbax's writers may outlive its error for a moment, so this looks until nothing is left.
    """
    for _ in range(50):
      left = list(self.folder.glob(f'{UNFINISHED}*'))
      if not left:
        return
      for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
      time.sleep(0.1)
    log.warning('cannot remove what an unfinished save left: %s', ', '.join(map(str, left)))

  def restore(self, template: Any) -> Any | None:
    """As `restore`, and moves damaged steps out of the way, so that they can be saved anew."""
    self.wait()
    state, damaged = restore(self.folder, template)
    for step in damaged:
      aside = self.folder.parent / 'damaged' / str(step)
      shutil.rmtree(aside, ignore_errors=True)
      aside.parent.mkdir(exist_ok=True)
      (self.folder / str(step)).rename(aside)
      log.warning('moved the damaged checkpoint of step %d to %s', step, aside)
    return state


def linked(source: str, target: str) -> None:
  """A file by another name, or a copy."""
  try:
    os.link(source, target)
  except OSError:
    shutil.copy2(source, target)


def remove(step: Path) -> None:
  """Takes a step's number away before its files, so that nobody reads half of it."""
  if step.exists():
    going = step.with_name(f'{UNFINISHED}-{step.name}')
    shutil.rmtree(going, ignore_errors=True)
    shutil.rmtree(step.rename(going))


def restore(folder: Path, template: Any) -> tuple[Any | None, dict[int, str]]:
  """The newest checkpoint that is whole, and what is wrong with those that are newer.

  Writes nothing, and may read the folder of a run that is being trained.

  Args:
    folder: where the steps are; may be missing.
    template: a pytree of arrays or shapes of the expected structure.

  Returns:
    The state as numpy arrays, or None where nothing was ever saved; the damage by step.

  Raises:
    UserError: every checkpoint is damaged, or the newest whole one has other arrays.
  """
  damaged: dict[int, str] = {}
  for step in reversed(steps(folder)):
    path = folder.resolve() / str(step)
    reason = damage(path)
    if reason is None:
      for newer, why in damaged.items():
        log.warning('the checkpoint of step %d in %s is damaged: %s', newer, folder, why)
      try:
        return read(path, template), damaged
      except UserError:
        if path.exists():
          raise
    if not path.exists():  # pruned by the run that is training there, so there is a newer one now
      return restore(folder, template)
    damaged[step] = reason
  if damaged:
    listed = ''.join(f'\n  step {step}: {reason}' for step, reason in damaged.items())
    raise UserError(
      f'no checkpoint in {folder} is whole; none of them was touched:{listed}\n'
      'Bring one back from a copy, or train anew in another --workdir.'
    )
  return None, damaged


def read(folder: Path, template: Any) -> Any:
  """A step's state as numpy arrays.

  Raises:
    UserError: it has other arrays than the template, or Orbax cannot read it.
  """
  try:
    found = json.loads((folder / ARRAYS).read_text())
    expected = as_saved(template, found)
    compare(found, specification(expected), folder)
    empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), expected)
    with orbax_of_one() as orbax:
      state = orbax.restore(folder, args=ocp.args.StandardRestore(empty))
    return state if expected is template else type(template)(*state)
  except UserError:
    raise
  except Exception as error:
    raise UserError(f'cannot read {folder}, whose sums are right: {error}') from error


def as_saved(template: Any, found: dict[str, str]) -> Any:
  """The template, with the names of its parts that an older checkpoint's arrays have."""
  parts = {path.removeprefix('.').partition('[')[0] for path in found}
  names = getattr(template, '_fields', ())
  before = [name if name in parts else RENAMED.get(name, name) for name in names]
  if not parts.intersection(before).difference(names):
    return template
  return namedtuple('Before', before)(*template)


def steps(folder: Path) -> list[int]:
  """The steps that were saved in a folder, in order."""
  names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
  return sorted(int(name) for name in names if re.fullmatch('0|[1-9][0-9]*', name))


def specification(state: Any) -> dict[str, str]:
  """Shape and type of each array of a pytree, by its path."""
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return {jax.tree_util.keystr(path): f'{leaf.dtype}{list(leaf.shape)}' for path, leaf in leaves}


def compare(found: dict[str, str], expected: dict[str, str], folder: Path) -> None:
  """Raises UserError where a checkpoint's arrays are not those that the config builds."""
  names = sorted(found.keys() | expected.keys())
  different = [
    f'  {name}: {found.get(name, "nothing")} there, {expected.get(name, "nothing")} expected'
    for name in names
    if found.get(name) != expected.get(name)
  ]
  if different:
    shown = different[:5] + [f'  and {len(different) - 5} more'] * (len(different) > 5)
    raise UserError(
      f'{folder} holds the checkpoint of another architecture:\n'
      + '\n'.join(shown)
      + '\nUse the config it was trained with, or another --workdir.'
    )
