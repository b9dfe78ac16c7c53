"""Flax networks: parameters only, one example in, one example out; batches come from `vmap`."""

import importlib
import pkgutil

import flax.linen as nn

from jaxgen.errors import UserError, suggest


def find_network(name: str, role: str) -> type[nn.Module]:
  """The class `role` of the module `name`: adding a file is all it takes to add a network.

  Args:
    name: of the module, as in config.network.name.
    role: 'Encoder' (image -> vector), 'Decoder' (vector -> image) or 'Denoiser' (image, time ->
      image).

  Raises:
    UserError: there is no such module, or it has no such class.
  """
  names = [module.name for module in pkgutil.iter_modules(__path__)]
  found = class_of(name, role) if name in names else None
  if found is None:
    fitting = [other for other in names if class_of(other, role)]
    if name in names:
      raise UserError(f'network.name={name!r} has no {role}: choose {" or ".join(fitting)}')
    raise UserError(f'Unknown network {name!r}.{suggest(name, fitting)}')
  return found


def class_of(name: str, role: str) -> type[nn.Module] | None:
  """A module's class by its role, if the module has one."""
  return getattr(importlib.import_module(f'{__name__}.{name}'), role, None)
