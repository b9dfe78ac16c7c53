"""A run's folder: claimed by one process at a time, and marked with what made it."""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen import __version__
from jaxgen.data import Dataset
from jaxgen.errors import UserError
from jaxgen.images import write_whole

RECORD = 'run.json'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'ml-collections', 'numpy')


@contextmanager
def claim(workdir: Path) -> Iterator[None]:
  """Creates the folder and holds it against a second run; the kernel frees it if we die.

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
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      lock.seek(0)
      raise UserError(
        f'workdir {workdir} is in use by {lock.read() or "another process"}: wait for it, stop it, '
        'or choose another --workdir'
      ) from error
    lock.truncate(0)
    lock.write(f'process {os.getpid()} on {socket.gethostname()}')
    lock.flush()
    yield


def describe(workdir: Path, dataset: Dataset) -> None:
  """Adds to run.json what this start runs with: data, versions, devices, revision, command.

  Raises:
    UserError: the run began with other data.
  """
  path = workdir / RECORD
  record = read_record(path) if path.exists() else {'starts': []}
  found = fingerprint(dataset)
  began = record.setdefault('data', found)
  if began != found:
    changed = [name for name in found if began.get(name) != found[name]]
    listed = ''.join(f'\n  {name}: {began.get(name)} then, {found[name]} now' for name in changed)
    raise UserError(
      f'the run in {workdir} began with other data:{listed}\n'
      'Bring them back, or choose another --workdir.'
    )
  record['image_shape'] = dataset.image_shape
  record.setdefault('starts', []).append(
    {
      'command': sys.argv,
      'jaxgen': __version__,
      'git': revision(),
      'python': platform.python_version(),
      'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
      'platform': platform.platform(),
      'processes': jax.process_count(),
      'devices': [f'{device.platform}: {device.device_kind}' for device in jax.devices()],
    }
  )
  write_whole(path, json.dumps(record, indent=2).encode())


def fingerprint(dataset: Dataset) -> dict[str, int | str]:
  """How many images each split has, and a hash of all labels and of up to 64 images of each."""
  digest = hashlib.sha256()
  for images, labels in dataset:
    digest.update(b'' if labels is None else np.asarray(labels, '<i8').tobytes())
    digest.update(images[np.linspace(0, len(images) - 1, min(64, len(images))).astype(int)])
  counts = {f'{name} images': len(split.images) for name, split in dataset._asdict().items()}
  return counts | {'sha256 of some of them': digest.hexdigest()}


def read_record(path: Path) -> dict[str, Any]:
  """What run.json holds.

  Raises:
    UserError: it cannot be read.
  """
  try:
    record = json.loads(path.read_text())
    kinds = [type(part) for part in (record, record.get('data', {}), record.get('starts', []))]
    if kinds != [dict, dict, list]:
      raise TypeError('it was not written by jaxgen')
  except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
    raise UserError(f'cannot read {path}: {error}') from error
  return record


def image_shape(workdir: Path) -> tuple[int, int, int]:
  """The (H, W, C) of the images that a run was trained on.

  Raises:
    UserError: the folder is not that of a run.
  """
  try:
    height, width, channels = map(int, read_record(workdir / RECORD)['image_shape'])
  except (UserError, ValueError, KeyError, TypeError) as error:
    raise UserError(f'{workdir} has no {RECORD} that says what was trained there') from error
  return height, width, channels


def revision() -> str:
  """The git revision of this code, with '+changes' where files differ from it."""
  here = Path(__file__).parent
  git = ['git', '-C', str(here), 'describe', '--always', '--abbrev=40', '--dirty=+changes']
  try:
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
