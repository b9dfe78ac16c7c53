"""Flax networks: parameters only, one example in, one example out; batches come from `vmap`."""

from collections.abc import Callable

import flax.linen as nn
import jax

from jaxgen.errors import find_module

ACTIVATIONS = {
  'relu': nn.relu, 'leaky_relu': nn.leaky_relu, 'elu': nn.elu, 'gelu': nn.gelu, 'silu': nn.silu,
  'softplus': nn.softplus, 'tanh': nn.tanh,
}  # fmt: skip


def find_network(name: str, role: str) -> type[nn.Module]:
  """The class `role` of the module `name`: adding a file is all it takes to add a network.

  Args:
    name: of the module, as in config.network.name; 'mypackage.mynetwork' is one of the user's own.
    role: 'Encoder' (image -> vector), 'Decoder' (vector -> image), 'Denoiser' (image, time ->
      image), 'Predictor' (image -> what is said of each pixel by those before it), 'Conditioner'
      (patches -> the same of each patch), or 'GridEncoder' and 'GridDecoder' (image -> a grid of
      vectors, and back).

  Raises:
    UserError: there is no such module, or it has no such class.
  """
  return getattr(find_module(__name__, name, role), role)


def find_activation(name: str) -> Callable[[jax.Array], jax.Array]:
  """The function that `network.activation` names.

  Raises:
    ValueError: there is none of this name.
  """
  if name not in ACTIVATIONS:
    raise ValueError(f'network.activation={name!r}; choose one of {", ".join(ACTIVATIONS)}')
  return ACTIVATIONS[name]
