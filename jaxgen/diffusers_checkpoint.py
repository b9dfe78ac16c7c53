"""What the files of diffusers' `UNet2DModel` say: its config, and its weights by their names."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgen.errors import UserError

OLDER = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}  # of attention

# Fields of the network by diffusers' names, and what they are where a file does not say.
FIELDS: dict[str, tuple[str, Any]] = {
  'block_out_channels': ('channels', (224, 448, 672, 896)),
  'layers_per_block': ('blocks', 2),
  'attention_head_dim': ('head_width', 8),
  'norm_num_groups': ('groups', 32),
  'norm_eps': ('epsilon', 1e-5),
  'downsample_padding': ('padding', 1),
  'freq_shift': ('shift', 0),
  'flip_sin_to_cos': ('cosine_first', True),
  'out_channels': ('output_channels', 3),
  'dropout': ('dropout', 0.0),
}
# What diffusers could have otherwise, and the network here cannot.
FIXED = {
  'act_fn': 'silu', 'add_attention': True, 'attention_legacy_order': False,
  'attn_norm_num_groups': None, 'center_input_sample': False, 'class_embed_type': None,
  'downsample_type': 'conv', 'mid_block_scale_factor': 1, 'num_class_embeds': None,
  'resnet_time_scale_shift': 'default', 'time_embedding_type': 'positional',
  'upsample_type': 'conv',
}  # fmt: skip


def fields(about: Mapping[str, Any]) -> dict[str, Any]:
  """The fields of `diffusers_unet` for a `UNet2DModel` of this config.

  Raises:
    UserError: it is of another class, or has a part that is not to be had here.
  """
  if about.get('_class_name', 'UNet2DModel') != 'UNet2DModel' or 'sample_size' not in about:
    raise UserError(f'a network of class {about.get("_class_name")!r} is no UNet2DModel')
  for name, known in FIXED.items():
    if about.get(name, known) != known:
      raise UserError(f'diffusers has {name}={about[name]!r} here, and jaxgen {known!r} alone')
  down, up = (attended(about, name) for name in ('down_block_types', 'up_block_types'))
  if down != up[::-1]:
    raise UserError('levels have attention on the way down, or on the way up, but not on both')
  found = {ours: about.get(theirs, default) for theirs, (ours, default) in FIELDS.items()}
  return found | {
    'channels': tuple(found['channels']),
    'attention': tuple(level for level, has in enumerate(down) if has),
    'head_width': found['head_width'] or 0,
    'shift': float(found['shift']),
    'remat': False,
  }


def attended(about: Mapping[str, Any], name: str) -> list[bool]:
  """Which blocks of a way have attention.

  Raises:
    UserError: a block is of another kind, or there are not as many as levels.
  """
  plain = f'{name.partition("_")[0].capitalize()}Block2D'
  kinds = {plain: False, f'Attn{plain}': True}
  blocks, levels = about.get(name, ()), len(about.get('block_out_channels', ()))
  if len(blocks) != levels:
    raise UserError(f'{name} names {len(blocks)} blocks, and block_out_channels {levels}')
  unknown = [block for block in blocks if block not in kinds]
  if unknown:
    raise UserError(f'diffusers has a block {unknown[0]!r} here, and jaxgen {", ".join(kinds)}')
  return [kinds[block] for block in blocks]


def theirs(path: tuple[str, ...]) -> str:
  """The name that diffusers has for a parameter: layers by their names, which are the same."""
  *layers, last = path[1:]
  return '.'.join([*layers, {'kernel': 'weight', 'scale': 'weight'}.get(last, last)])


def turned(array: Any, ndim: int) -> Any:
  """A weight of so many axes in the other library's order: dense (I, O), convolution (H, W, I, O).

  Theirs are (O, I) and (O, I, H, W).
  """
  return {2: lambda a: a.T, 4: lambda a: a.transpose(2, 3, 1, 0)}.get(ndim, lambda a: a)(array)


def from_theirs(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
  """Parameters of this structure from a checkpoint's arrays.

  Raises:
    UserError: one is missing, is of another shape, or has no place.
  """
  arrays = {
    re.sub(r'\.(query|key|value|proj_attn)\.', lambda m: f'.{OLDER[m[1]]}.', name): array
    for name, array in arrays.items()
  }
  found = {}
  for path, leaf in flatten_dict(like).items():
    name = theirs(path)
    if name not in arrays:
      raise UserError(f'the checkpoint has no {name!r}, which its config describes')
    array = turned(arrays.pop(name), len(leaf.shape))
    if array.shape != leaf.shape:
      raise UserError(
        f'{name!r} is {array.shape} in the checkpoint, and {leaf.shape} by its config'
      )
    found[path] = np.ascontiguousarray(array, leaf.dtype)
  if arrays:
    raise UserError(f'the checkpoint has {min(arrays)!r}, which its config does not describe')
  return unflatten_dict(found)
