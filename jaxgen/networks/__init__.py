"""Flax networks: parameters only, one example in, one example out; batches come from `vmap`."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import ml_collections

from jaxgen.errors import find_module

ACTIVATIONS = {
  'relu': nn.relu, 'leaky_relu': nn.leaky_relu, 'elu': nn.elu, 'gelu': nn.gelu, 'silu': nn.silu,
  'softplus': nn.softplus, 'tanh': nn.tanh,
}  # fmt: skip


def find_network(name: str, role: str, field: str = 'network.name') -> type[nn.Module]:
  """The class `role` of the module `name`: adding a file is all it takes to add a network.

  Args:
    name: of the module, as in config.network.name; 'mypackage.mynetwork' is one of the user's own.
    role: 'Encoder' (image -> vector), 'Decoder' (vector -> image), 'Denoiser' (image, time ->
      image), 'Predictor' (image -> what is said of each pixel by those before it), 'Conditioner'
      (patches -> the same of each patch), 'GridEncoder' and 'GridDecoder' (image -> a grid of
      vectors, and back), or 'BottomUp' and 'TopDown' (image -> features of each group of latents,
      and those -> a grid that has met all groups).
    field: of the config, that names it.

  Raises:
    UserError: there is no such module, or it has no such class.
  """
  return getattr(find_module(__name__, name, role, field), role)


def build_network(
  config: ml_collections.ConfigDict,
  role: str,
  *first: Any,
  section: str = 'network',
  **more: Any,
) -> nn.Module:
  """The network that a section of a config describes.

  Args:
    config: of a run.
    role: as in `find_network`.
    *first: arguments of the class that no config has, as the length of its output.
    section: of the config.
    **more: arguments of the class that the section has not.

  Raises:
    UserError: as `find_network`.
    ValueError: as `find_activation`.
  """
  fields = dict(config[section].items()) | more
  name = fields.pop('name')
  if isinstance(fields.get('activation'), str):
    fields['activation'] = find_activation(fields['activation'])
  return find_network(name, role, f'{section}.name')(*first, **fields)


def find_activation(name: str) -> Callable[[jax.Array], jax.Array]:
  """The function that `network.activation` names.

  Raises:
    ValueError: there is none of this name.
  """
  if name not in ACTIVATIONS:
    raise ValueError(f'network.activation={name!r}; choose one of {", ".join(ACTIVATIONS)}')
  return ACTIVATIONS[name]


def require_layers(hidden: tuple[int, ...]) -> None:
  """Raises ValueError where there are none."""
  if not hidden:
    raise ValueError('hidden=() of a network must have at least one layer')


def grows(network: nn.Module) -> bool:
  """Whether a network may begin with the parameters of one that lacks some of its own.

  Its class says so by `grows = True`, or that of the network that it wraps. What two networks of
  such a class call the same is then the same in both, and what one has besides begins as nothing.
  """
  return getattr(getattr(network, 'network', network), 'grows', False)
