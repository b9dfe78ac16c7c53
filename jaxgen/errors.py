"""The one exception that is the user's to mend, and the one way to find a module by name."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType


class UserError(Exception):
  """Bad input: the message gives the offending value and the way out; `main` prints it alone."""


def suggest(name: str, known: Iterable[str]) -> str:
  """Ends a message about an unknown `name`: what was probably meant, and all there is."""
  known = sorted(known)
  close = difflib.get_close_matches(name, known, n=1)
  meant = f' Did you mean {close[0]!r}?' if close else ''
  return f'{meant} Known: {", ".join(known)}.'


def find_module(package: str, name: str) -> ModuleType:
  """Imports `package.name`: adding a file is all it takes to add an objective.

  Raises:
    UserError: there is no such module.
  """
  known = [m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__)]
  if name not in known:
    kind = package.rpartition('.')[2].rstrip('s')
    raise UserError(f'Unknown {kind} {name!r}.{suggest(name, known)}')
  return importlib.import_module(f'{package}.{name}')
