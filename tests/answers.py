"""Inputs drawn by seed, and what independent implementations answered to them (`tests.peers`)."""

import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from jaxgen import diffusers_checkpoint
from jaxgen.features import inception, s4_legacy
from jaxgen.features.inception_network import SIDE
from jaxgen.networks.diffusers_unet import DiffusersUNet
from tests.benchmarks import settings
from tests.benchmarks.contender import Contender

FILE = Path(__file__).parent / 'answers.npz'
SIZES = ((28, 28), (32, 20), (400, 301))  # of images to be resized
PREPARED = ((True, 28), (False, 28), (False, 32))  # real or generated, and their side
SOME = np.r_[0:SIDE:13, SIDE - 2 : SIDE]  # rows and columns of a resized image that are stored
UNETS = {  # configs of small networks of diffusers: as its first ones were, and as its defaults are
  'first': {
    'sample_size': 8, 'in_channels': 3, 'out_channels': 3, 'block_out_channels': [8, 16],
    'layers_per_block': 1, 'down_block_types': ['DownBlock2D', 'AttnDownBlock2D'],
    'up_block_types': ['AttnUpBlock2D', 'UpBlock2D'], 'downsample_padding': 0, 'norm_eps': 1e-6,
    'norm_num_groups': 4, 'attention_head_dim': None, 'flip_sin_to_cos': False, 'freq_shift': 1,
  },
  'default': {
    'sample_size': 8, 'in_channels': 1, 'out_channels': 1, 'block_out_channels': [8, 8, 16],
    'norm_num_groups': 8, 'attention_head_dim': 4,
    'down_block_types': ['AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'],
    'up_block_types': ['UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D'],
  },
}  # fmt: skip
TIMES = (0, 7, 999)  # at which these are asked
SAVED = {
  'weight': np.arange(12, dtype=np.float32).reshape(3, 4),
  'count': np.array(7, np.int64),
  'half': np.linspace(0, 1, 5, dtype=np.float16),
}


@functools.cache
def load() -> dict[str, np.ndarray]:
  """All that is stored."""
  with np.load(FILE, allow_pickle=False) as arrays:
    return dict(arrays)


def stored(name: str) -> np.ndarray:
  """An answer by its name."""
  return load()[name]


def draw(seed: int, count: int = 500, dimension: int = 8, scale: float = 1.0) -> np.ndarray:
  """float32 features (count, dimension) from a Gaussian."""
  mixing = np.random.default_rng(7).normal(size=(dimension, dimension))
  return (scale * np.random.default_rng(seed).normal(size=(count, dimension)) @ mixing).astype(
    np.float32
  )


def images(seed: int, count: int, rows: int, columns: int, channels: int) -> np.ndarray:
  """uint8 noise (N, H, W, C)."""
  shape = (count, rows, columns, channels)
  return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def probabilities() -> np.ndarray:
  """float64 (200, 10), rows adding up to one."""
  return np.random.default_rng(0).dirichlet(np.full(10, 0.4), 200)


def inception_weights() -> dict[str, np.ndarray]:
  """Random ones by the names of the published file; activations stay of order one."""
  generator = np.random.default_rng(0)
  weights = {}
  for name, shape in inception.weight_shapes().items():
    if name.endswith('conv.weight'):
      weights[name] = generator.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape)
    elif name == 'fc.weight':
      weights[name] = generator.normal(0.0, 0.1, shape)
    elif name.endswith(('bn.weight', 'running_var')):
      weights[name] = generator.uniform(0.5, 1.5, shape)
    else:
      weights[name] = generator.normal(0.0, 0.2, shape)
  return {name: weight.astype(np.float32) for name, weight in weights.items()}


def legacy_weights() -> dict[str, np.ndarray]:
  """Random ones by torchvision's names, with those that the path of `s4_legacy` does not use."""
  generator = np.random.default_rng(0)
  like = jax.ShapeDtypeStruct((2, SIDE, SIDE, 3), np.float32)
  shapes = jax.eval_shape(s4_legacy.NETWORK.init, jax.random.key(0), like)['params']
  weights = {}
  for name, array in flatten_dict(shapes, sep='.').items():
    if name.endswith('.kernel'):
      deviation = np.sqrt(2.0 / np.prod(array.shape[:3]))
      kernel = generator.normal(0.0, deviation, array.shape).transpose(3, 2, 0, 1)
      weights[name.replace('.kernel', '.weight')] = kernel.astype(np.float32)
    else:
      low, high = (0.5, 1.5) if name.endswith('weight') else (-0.2, 0.2)
      weights[name] = generator.uniform(low, high, array.shape).astype(np.float32)
  return weights


def unet_weights(name: str) -> dict[str, np.ndarray]:
  """Random ones of a U-Net of diffusers, by its names; activations stay of order one."""
  generator, about = np.random.default_rng(0), UNETS[name]
  network = DiffusersUNet(**diffusers_checkpoint.fields(about))
  image = jax.ShapeDtypeStruct((8, 8, about['in_channels']), np.float32)
  like = jax.eval_shape(network.init, jax.random.key(0), image, np.int32(1))
  weights = {}
  for path, leaf in flatten_dict(like).items():
    if len(leaf.shape) == 1:
      array = generator.uniform(0.5, 1.5, leaf.shape) * generator.choice([-1, 1], leaf.shape)
    else:
      shape = (
        leaf.shape[::-1] if len(leaf.shape) == 2 else tuple(leaf.shape[i] for i in (3, 2, 0, 1))
      )
      array = generator.normal(0.0, 1.0 / np.sqrt(np.prod(shape[1:])), shape)
    weights[diffusers_checkpoint.theirs(path)] = array.astype(np.float32)
  return weights


def unet_images(name: str) -> np.ndarray:
  """Noise for each of TIMES, float32 (3, C, H, W)."""
  shape = (len(TIMES), UNETS[name]['in_channels'], 8, 8)
  return np.random.default_rng(4).normal(size=shape).astype(np.float32)


def halves(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Rows of two sets, in the two subsets that the kernel distance draws of them with seed 5."""
  generator = np.random.default_rng(5)
  orders = [np.split(generator.permutation(count), 2) for _ in range(2)]
  return zip(*orders, strict=True)


def few(name: str, work: str) -> Contender:
  """A small contender of the benchmark, that either side can build."""
  sizes = {'training': ('batch_size=20', 'steps_per_call=1'), 'forward': ('batch_size=4',)}
  return settings.SETTINGS[name].contender('', work, *sizes[work])
