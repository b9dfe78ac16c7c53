"""Files that spare work done before: read without executing anything, and never a condition."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

_logger = logging.getLogger(__name__)


def folder() -> Path:
  """~/.cache/jaxgen/features, or below XDG_CACHE_HOME."""
  home = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
  return home / 'jaxgen' / 'features'


def load(path: Path) -> dict[str, np.ndarray] | None:
  """The arrays of a file, or None where there is none or it is damaged, which is said."""
  if not path.exists():
    return None
  try:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as kept:
      return {name: kept[name] for name in kept.files}
  except Exception as error:  # whatever a damaged file makes the parsers raise
    _logger.warning('%s is damaged (%s); what it held is made again', path, error)
    return None


def save(path: Path, **arrays: Any) -> None:
  """Writes beside `path` and renames, so that nobody reads half a file; a failure is only said."""
  unfinished = path.with_name(f'.{path.name}.{os.getpid()}.partial')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished.open('wb') as file:
      np.savez(file, **arrays)
    os.replace(unfinished, path)
  except OSError as error:
    _logger.warning('cannot keep %s: %s', path, error)
