"""The one exception that is the user's to mend, and the one way to find a module by name."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType

FEW = 8  # names, that a message lists even where one is near what was written


class UserError(Exception):
  """Bad input: the message gives the offending value and the way out; `main` prints it alone."""


def first_line(error: BaseException) -> str:
  """What an exception says in one line; its type where it says nothing."""
  return next(iter(str(error).splitlines()), '') or type(error).__name__


def suggest(name: str, known: Iterable[str]) -> str:
  """Ends a message about an unknown `name`: what was probably meant; all there is, unless much."""
  known = sorted(known)
  near = meant(difflib.get_close_matches(name, known, n=1))
  return near if near and len(known) > FEW else f'{near} Known: {", ".join(known)}.'


def meant(names: Sequence[str]) -> str:
  """Asks whether one of these was meant; '' where there is none."""
  return f' Did you mean {" or ".join(map(repr, names))}?' if names else ''


def find_module(package: str, name: str, attribute: str, field: str = '') -> ModuleType:
  """The module of this name, in whatever folder of a package; a dotted name is a user's own module.

  Adding a file is all it takes to add an objective or a network.

  Args:
    package: 'jaxgen.objectives', ...
    name: of the file, without its folders, or 'mypackage.mymodel'.
    attribute: what such a module has, and what it shares its folders with has not.
    field: of the config, that names it; '' for the package's own, as network.name.

  Raises:
    UserError: there is no such module, or it lacks the attribute.
  """
  kind = package.rpartition('.')[2].rstrip('s')
  field = field or f'{kind}.name'
  if '.' in name:
    try:
      module = importlib.import_module(name)
    except ModuleNotFoundError as error:
      if not f'{name}.'.startswith(f'{error.name}.'):
        raise  # a fault of the module, which its author wants to see whole
      raise UserError(
        f'{field}={name!r} cannot be imported: {error}; start Python where it '
        'lies, or put its folder into PYTHONPATH'
      ) from error
    if not hasattr(module, attribute):
      raise UserError(f'{field}={name!r}: {module.__file__} has no {attribute}')
    return module
  same = [path for path in modules(package) if path.rpartition('.')[2] == name]
  for module in map(importlib.import_module, same):
    if hasattr(module, attribute):
      return module
  known = sorted(offered(package, attribute))
  if same:
    raise UserError(f'{field}={name!r} has no {attribute}: choose {" or ".join(known)}')
  raise UserError(f'Unknown {kind} {name!r}.{suggest(name, known)}')


def offered(package: str, attribute: str) -> list[str]:
  """The names of a package's modules that have this attribute."""
  found = [path for path in modules(package) if hasattr(importlib.import_module(path), attribute)]
  return [path.rpartition('.')[2] for path in found]


def modules(package: str) -> Iterator[str]:
  """The full names of all modules in a package and its folders."""
  for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f'{package}.'):
    if module.ispkg:
      yield from modules(module.name)
    else:
      yield module.name
