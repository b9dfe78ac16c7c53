"""A run's folder: claimed by one process at a time, and marked with what made it."""

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxgen.datasets.splits import Dataset, Facts
from jaxgen.errors import UserError
from jaxgen.evaluation.provenance import (
  changes,
  circumstances,
  copies,
  fingerprint,
  image_hashes,
  parameters_hash,
)
from jaxgen.images import write_whole

log = logging.getLogger(__name__)

RECORD = 'run.json'


@contextmanager
def claim(workdir: Path, wait: bool = False) -> Iterator[None]:
  """Creates the folder and holds it against a second run; the kernel frees it if we die.

  Args:
    workdir: the folder.
    wait: for another process to give it back, rather than to fail.

  Raises:
    UserError: it cannot be written, or another run holds it.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = (workdir / '.lock').open('a+')
  except OSError as error:
    raise UserError(f'cannot write to workdir {workdir}: {error.strerror}') from error
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError as error:
      lock.seek(0)
      raise UserError(
        f'workdir {workdir} is in use by {lock.read() or "another process"}: wait for it, stop it, '
        'or choose another --workdir'
      ) from error
    except OSError as error:
      raise UserError(
        f'cannot lock workdir {workdir}: {error.strerror}; choose one on a file system with locks'
      ) from error
    lock.truncate(0)
    lock.write(f'process {os.getpid()} on {socket.gethostname()}')
    lock.flush()
    yield


def describe(workdir: Path, dataset: Dataset) -> None:
  """Adds this start to run.json, and says what of it may change bits since the last one.

  Raises:
    UserError: the run began with other data.
  """
  path = workdir / RECORD
  record = read_record(path) if path.exists() else {}
  began, starts = record.get('data', {}), record.get('starts', [])
  found = recognise(workdir, began, dataset)
  start = circumstances()
  changed = changes(starts[-1], start) if starts else []
  if changed:
    log.warning('bits may differ, for this start is not like the last: %s', '; '.join(changed))
  record |= {'data': found | began} | dataset.facts._asdict() | {'starts': [*starts, start]}
  write_whole(path, json.dumps(record, indent=2).encode())


def conclude(workdir: Path, step: int, **parameters: Any) -> None:
  """Adds the hashes of the last step's parameters, by name, to run.json."""
  path = workdir / RECORD
  hashes = {f'{name}_sha256': parameters_hash(params) for name, params in parameters.items()}
  record = read_record(path) | {'final': {'step': step} | hashes}
  write_whole(path, json.dumps(record, indent=2).encode())


def require_data(workdir: Path, dataset: Dataset) -> dict[str, int | str]:
  """The fingerprint of the data, which must be those that a run began with.

  Raises:
    UserError: they are not, or the folder is not that of a run.
  """
  path = workdir / RECORD
  if not path.exists():
    raise UserError(f'{workdir} has no {RECORD} that says what was trained there')
  return recognise(workdir, read_record(path).get('data', {}), dataset)


def recognise(workdir: Path, began: dict[str, Any], dataset: Dataset) -> dict[str, int | str]:
  """The fingerprint of the data; says how many images are in two splits.

  Raises:
    UserError: another one than the run began with, as far as that was recorded.
  """
  hashes = image_hashes(dataset)
  found = fingerprint(dataset, hashes)
  changed = [name for name in found if began.get(name, found[name]) != found[name]]
  if changed:
    listed = ''.join(f'\n  {name}: {began[name]} then, {found[name]} now' for name in changed)
    raise UserError(
      f'the run in {workdir} began with other data:{listed}\n'
      'Bring them back, or choose another --workdir.'
    )
  for (split, other), count in copies(hashes).items():
    name = f'{split} images that are also {other} images'
    found[name] = count
    if began.get(name) != count:  # else it was said at the start
      words = '%d of %d %s images are also %s images, to the pixel'
      log.warning(words, count, len(hashes[split]), split, other)
  return found


def require_unfinished(workdir: Path) -> None:
  """Raises UserError where the run has finished: begun anew, it would erase its curves and film."""
  path = workdir / RECORD
  if path.exists() and 'final' in read_record(path):
    raise UserError(
      f'{workdir} holds a finished run, and no checkpoint of it: bring them back, or move the '
      'folder away to train it anew'
    )


def read_record(path: Path) -> dict[str, Any]:
  """What run.json holds.

  Raises:
    UserError: it cannot be read.
  """
  try:
    record = json.loads(path.read_text())
    kinds = [type(part) for part in (record, record.get('data', {}), record.get('starts', []))]
    if kinds != [dict, dict, list] or {type(start) for start in record.get('starts', [])} - {dict}:
      raise TypeError('it was not written by jaxgen')
  except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
    raise UserError(f'cannot read {path}: {error}') from error
  return record


def facts_of(workdir: Path) -> Facts:
  """What was known of the data that a run was trained on.

  Raises:
    UserError: the folder is not that of a run.
  """
  try:
    record = read_record(workdir / RECORD)
    height, width, channels = map(int, record['image_shape'])
    # Older records may lack the rest, and hold runs of models that have no use for it.
    images = int(record.get('training_images', 0))
    counts = tuple(map(int, record.get('class_counts', ())))
    names = tuple(map(str, record.get('class_names', ())))
  except (UserError, ValueError, KeyError, TypeError) as error:
    raise UserError(f'{workdir} has no {RECORD} that says what was trained there') from error
  return Facts((height, width, channels), images, counts, names)
