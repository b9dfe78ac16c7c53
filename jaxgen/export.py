"""Trained parameters for other programs: named arrays, and how their networks are built.

Where jaxgen is installed, plain Flax calls the network of a diffusion model, image and time scaled
as its objective does it (`Denoiser`, `NoisePredictor`), after these ten lines:

  import importlib, json, math, pathlib, flax, numpy
  about = json.loads(pathlib.Path('exported/config.json').read_text())['networks']['denoiser']
  module, _, name = about['class'].rpartition('.')
  network = getattr(importlib.import_module(module), name)(**about['fields'])
  data = pathlib.Path('exported/model.safetensors').read_bytes()
  start = 8 + int.from_bytes(data[:8], 'little')
  header = json.loads(data[8:start])
  arrays = {n: numpy.frombuffer(data, 'f4', math.prod(a['shape']), start + a['data_offsets'][0])
            .reshape(a['shape']) for n, a in header.items()}
  output = network.apply(flax.traverse_util.unflatten_dict(arrays, sep='/'), image, time)

`safetensors.numpy.load_file('exported/model.safetensors')` reads the same arrays.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxgen import safetensors
from jaxgen.errors import UserError
from jaxgen.images import write_whole

ARRAYS, CONFIG = 'model.safetensors', 'config.json'


def export(
  folder: Path, params: Any, networks: Mapping[str, nn.Module], about: Mapping[str, Any]
) -> None:
  """Writes parameters by their names, parts with / between them, and all else that is known.

  Args:
    folder: is made; what was exported to it before is replaced.
    params: a pytree of arrays.
    networks: by their names, as in `Objective.networks`.
    about: more of the model, for its config.json.

  Raises:
    UserError: the folder is that of something else.
  """
  require_own(folder)
  arrays = {
    jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  described = {name: describe(network) for name, network in networks.items()}
  safetensors.write(folder / ARRAYS, arrays)
  text = json.dumps({'networks': described, **about}, indent=2)
  write_whole(folder / CONFIG, text.encode())


def require_own(folder: Path) -> None:
  """Raises UserError where a folder has files of these names that were not exported."""
  there = [name for name in (CONFIG, ARRAYS) if (folder / name).exists()]
  try:
    own = {'jaxgen', 'networks'} <= json.loads((folder / CONFIG).read_text()).keys()
  except (OSError, ValueError, AttributeError):
    own = False
  if there and not own:
    raise UserError(f'{folder} holds another {" and ".join(there)}: export to a folder of its own')


def describe(module: nn.Module) -> dict[str, Any]:
  """The class of a module by its name, and its fields but for functions that it has anyway."""
  fields = {}
  for field in dataclasses.fields(module):
    value = getattr(module, field.name)
    if isinstance(value, nn.Module) and field.name != 'parent':
      value = describe(value)
    elif callable(value):
      if value is field.default:
        continue
      value = f'{value.__module__}.{value.__qualname__}'
    if field.name not in ('parent', 'name'):
      fields[field.name] = value
  return {'class': f'{type(module).__module__}.{type(module).__qualname__}', 'fields': fields}
