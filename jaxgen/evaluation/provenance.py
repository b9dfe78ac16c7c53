"""What a number can be followed back to: the data, the code and the machine that made it."""

import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen.datasets.splits import Dataset
from jaxgen.devices.parallel import cores
from jaxgen.fields import flatten
from jaxgen.version import __version__

PACKAGES = (
  *('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'ml-collections', 'numpy', 'scipy'),
)


def image_hashes(dataset: Dataset) -> dict[str, list[bytes]]:
  """The SHA-256 of each image by split; what is larger than memory is not read for this."""
  return {
    name: [hashlib.sha256(image).digest() for image in split.images]
    for name, split in dataset._asdict().items()
    if isinstance(split.images, np.ndarray)
  }


def fingerprint(dataset: Dataset, hashes: dict[str, list[bytes]]) -> dict[str, int | str]:
  """How many images each split has, and a hash of all labels and of up to 64 images of each.

  Also one of all images and labels of each split that `image_hashes` has seen.
  """
  digest = hashlib.sha256()
  found: dict[str, int | str] = {}
  for name, (images, labels, _) in dataset._asdict().items():
    known = b'' if labels is None else np.asarray(labels, '<i8').tobytes()
    digest.update(known)
    digest.update(images[np.linspace(0, len(images) - 1, min(64, len(images))).astype(int)])
    found[f'{name} images'] = len(images)
    if name in hashes:
      found[f'{name} sha256'] = hashlib.sha256(b''.join([*hashes[name], known])).hexdigest()
  return found | {'sha256 of some of them': digest.hexdigest()}


def parameters_hash(params: Any) -> str:
  """The SHA-256 over the bytes of a pytree's arrays in its order: equal where every bit is."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(params)):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()


def copies(hashes: dict[str, list[bytes]]) -> dict[tuple[str, str], int]:
  """(split, other) -> how many images of a held-out split are also in another, where any are."""
  counts = {
    (split, other): sum(map(set(hashes[other]).__contains__, hashes[split]))
    for split, other in (('validation', 'train'), ('test', 'train'), ('test', 'validation'))
    if {split, other} <= hashes.keys()
  }
  return {pair: count for pair, count in counts.items() if count}


def circumstances() -> dict[str, Any]:
  """When, by which code and on what machine this process runs, for JSON."""
  return {
    'date': datetime.now(UTC).isoformat(timespec='seconds'),
    'command': sys.argv,
    'jaxgen': __version__,
    'git': revision(),
    'python': platform.python_version(),
    'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
    'platform': platform.platform(),
    'processes': jax.process_count(),
    'devices': [f'{device.platform}: {device.device_kind}' for device in jax.devices()],
    'processor': processor(),
    'cores': cores(),
  }


def processor() -> str:
  """The CPU's name, or its architecture where the system does not tell more."""
  information = Path('/proc/cpuinfo')
  lines = information.read_text().splitlines() if information.exists() else []
  names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
  return names[0] if names else platform.machine()


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
  """What of two starts' circumstances differs that decides bits: 'cores: 2 then, 1 now'."""

  def shown(value: Any) -> str:
    if not isinstance(value, list):
      return str(value)
    return ', '.join(f'{count} x {item}' for item, count in Counter(map(str, value)).items())

  then, after = (
    {name.removeprefix('packages.'): shown(value) for name, value in flatten(start)}
    for start in (before, now)
  )
  return [
    f'{name}: {then[name]} then, {value} now'
    for name, value in after.items()
    if name not in ('date', 'command') and then.get(name, value) != value
  ]


def revision() -> str:
  """The git revision of this code, with '+changes' where files differ from it or code was added.

  'unknown' where git does not track this file, as in an environment inside another repository.
  Untracked files that are not Python are left out: a run's own folder may lie there.
  """
  git = ('git', '--no-optional-locks', '-C', str(Path(__file__).parent))
  try:
    _, name, status = (
      subprocess.run([*git, *command], capture_output=True, text=True, check=True).stdout  # noqa: S603
      for command in (
        ('ls-files', '--error-unmatch', Path(__file__).name),
        ('describe', '--always', '--abbrev=40'),
        ('status', '--porcelain', '-z', '--untracked-files=all'),
      )
    )
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  files = [entry for entry in status.split('\0') if entry]
  changed = any(not entry.startswith('?? ') or entry.endswith('.py') for entry in files)
  return name.strip() + '+changes' * changed
