"""Checkpoints: Orbax saves them atomically and in the background, a manifest proves them whole.

Orbax restores flipped bits without a word. So every finished step gets a `manifest.json` with the
shape and type of each array and the SHA-256 of each file, written once Orbax is done; a step
without one, or one that does not match, is set aside and the next older one is used.
"""

import hashlib
import json
import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxgen.errors import UserError
from jaxgen.images import write_whole

MANIFEST = 'manifest.json'
log = logging.getLogger(__name__)


class Checkpoints:
  """The checkpoints of one run, in `folder`; a context manager that finishes writing on exit."""

  def __init__(self, folder: Path, keep: int) -> None:
    self.folder = folder.resolve()
    # Orbax's own asynchronous mode does not tell when a step has reached its final place, which is
    # when its manifest can be written; so one thread saves a step and then proves it.
    self._thread = ThreadPoolExecutor(max_workers=1)
    self._saving: Future[None] | None = None
    self._manager = ocp.CheckpointManager(
      self.folder,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, cleanup_tmp_directories=True, enable_async_checkpointing=False
      ),
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self.wait()
    self._thread.shutdown()
    self._manager.close()

  def wait(self) -> None:
    """Returns when all that was saved is safe; a failure to write it surfaces here."""
    if self._saving is not None:
      saving, self._saving = self._saving, None
      saving.result()

  def save(self, step: int, state: Any) -> None:
    """Starts saving a pytree of arrays as a step, once the step before it is safe."""
    self.wait()
    if step not in self._manager.all_steps():
      self._saving = self._thread.submit(self._write, step, jax.device_get(state))

  def _write(self, step: int, state: Any) -> None:
    if not self._manager.save(step, args=ocp.args.StandardSave(state), force=True):
      raise OSError(f'checkpoint of step {step} was not saved')
    folder = self.folder / str(step)
    manifest = {'arrays': specification(state), 'sha256': digests(folder)}
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())

  def restore(self, template: Any) -> Any | None:
    """The newest checkpoint that is whole, as numpy arrays; None where there is none.

    Args:
      template: a pytree of arrays or shapes of the expected structure.

    Raises:
      UserError: the newest whole checkpoint has other arrays than the template.
    """
    self.wait()
    for step in sorted(self._manager.all_steps(), reverse=True):
      reason = damage(self.folder / str(step))
      if reason:
        self._set_aside(step, reason)
        continue
      manifest = json.loads((self.folder / str(step) / MANIFEST).read_text())
      compare(manifest['arrays'], specification(template), self.folder / str(step))
      empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), template)
      return self._manager.restore(step, args=ocp.args.StandardRestore(empty))
    return None

  def _set_aside(self, step: int, reason: str) -> None:
    """Renames a damaged step, so that it is not looked at again and can be saved anew."""
    aside = self.folder.parent / 'damaged' / f'{step}'
    log.warning('checkpoint of step %d is damaged (%s): moved to %s', step, reason, aside)
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(exist_ok=True)
    (self.folder / str(step)).rename(aside)
    self._manager.reload()


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


def digests(folder: Path) -> dict[str, str]:
  """SHA-256 of every file below a folder, by its relative path."""
  files = sorted(f for f in folder.rglob('*') if f.is_file() and f.name != MANIFEST)
  return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def damage(folder: Path) -> str | None:
  """What is wrong with a step's folder, or None where every file is as it was written."""
  try:
    expected = json.loads((folder / MANIFEST).read_text())['sha256']
    found = digests(folder)
  except FileNotFoundError:
    return 'it was never finished'
  except (OSError, ValueError, KeyError, TypeError) as error:
    return f'its manifest cannot be read: {error}'
  wrong = [name for name in expected if found.get(name) != expected[name]]
  return f'{wrong[0]} is not as it was written' if wrong else None
