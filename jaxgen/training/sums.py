"""SHA-256 sums of a folder's files, by which damage is found."""

import hashlib
from pathlib import Path

SUMS = 'SHA256SUMS'


def digests(folder: Path) -> dict[str, str]:
  """SHA-256 of every file below a folder, but for the sums and hidden files, by relative path."""
  result = {}
  for path in sorted(folder.rglob('*')):
    if path.is_file() and path.name != SUMS and not path.name.startswith('.'):
      with path.open('rb') as file:
        result[str(path.relative_to(folder))] = hashlib.file_digest(file, 'sha256').hexdigest()
  return result


def damage(folder: Path) -> str | None:
  """What is wrong with a step's folder, or None where every file is as it was written."""
  try:
    lines = (folder / SUMS).read_text().splitlines()
    expected = {name: digest for digest, _, name in (line.partition('  ') for line in lines)}
    found = digests(folder)
  except FileNotFoundError as error:
    return f'{Path(error.filename).name} is missing'
  except (OSError, ValueError) as error:
    return f'its sums cannot be read: {error}'
  if not expected:
    return f'{SUMS} is empty'
  for name in sorted(expected.keys() | found.keys()):
    if name not in found:
      return f'{name} is missing'
    if name not in expected:
      return f'{name} is not in {SUMS}'
    if found[name] != expected[name]:
      return f'{name} is not as it was written'
  return None
