"""Flax networks: parameters only, one example in, one example out; batches come from `vmap`."""

import flax.linen as nn

from jaxgen.errors import find_module


def find_network(name: str, role: str) -> type[nn.Module]:
  """The class `role` of the module `name`: adding a file is all it takes to add a network.

  Args:
    name: of the module, as in config.network.name; 'mypackage.mynetwork' is one of the user's own.
    role: 'Encoder' (image -> vector), 'Decoder' (vector -> image) or 'Denoiser' (image, time ->
      image).

  Raises:
    UserError: there is no such module, or it has no such class.
  """
  return getattr(find_module(__name__, name, role), role)
