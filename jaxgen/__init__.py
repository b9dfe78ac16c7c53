"""jaxgen: train and compare deep generative models in JAX and Flax.

>>> model = jaxgen.load('runs/mine')
>>> jaxgen.grid(model.sample(100))
>>> model.decode(model.encode(jaxgen.data('mnist').test.images[:9]))
>>> jaxgen.explore(model, jaxgen.data('mnist')).record['probe']
"""

import importlib
from typing import Any

from jaxgen.version import __version__

__all__ = ['__version__', 'data', 'explore', 'grid', 'load', 'load_diffusers']

_HOMES = {
  'load': ('jaxgen.model', 'load'),
  'load_diffusers': ('jaxgen.diffusers', 'load'),
  'data': ('jaxgen.datasets', 'named'),
  'grid': ('jaxgen.images', 'show'),
  'explore': ('jaxgen.latents.explore', 'explore'),
}


def __dir__() -> list[str]:
  return __all__


def __getattr__(name: str) -> Any:
  """Finds what notebooks use where it lives, when it is asked for: JAX takes seconds to import."""
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  module, function = _HOMES[name]
  return getattr(importlib.import_module(module), function)
