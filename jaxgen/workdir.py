"""A run's folder: claimed by one process at a time, and marked with what made it."""

import fcntl
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

import jax

from jaxgen import __version__
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


def describe(workdir: Path, image_shape: tuple[int, int, int]) -> None:
  """Adds to run.json what this start runs with: versions, devices, revision, command."""
  path = workdir / RECORD
  record = json.loads(path.read_text()) if path.exists() else {'starts': []}
  record['image_shape'] = image_shape
  record['starts'].append(
    {
      'command': sys.argv,
      'jaxgen': __version__,
      'git': revision(),
      'python': platform.python_version(),
      'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
      'platform': platform.platform(),
      'devices': [f'{device.platform}: {device.device_kind}' for device in jax.devices()],
    }
  )
  write_whole(path, json.dumps(record, indent=2).encode())


def image_shape(workdir: Path) -> tuple[int, int, int]:
  """The (H, W, C) of the images that a run was trained on.

  Raises:
    UserError: the folder is not that of a run.
  """
  try:
    height, width, channels = json.loads((workdir / RECORD).read_text())['image_shape']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(f'cannot read {workdir / RECORD}, so nothing was trained there') from error
  return height, width, channels


def revision() -> str:
  """The git revision of this code, with '+changes' where files differ from it."""
  here = Path(__file__).parent
  git = ['git', '-C', str(here), 'describe', '--always', '--abbrev=40', '--dirty=+changes']
  try:
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
