"""Images as models see them, and models on one device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration
from jaxgen.datasets.splits import Facts
from jaxgen.devices import parallel
from jaxgen.errors import find_module
from jaxgen.objectives.base import DEVICES, Example, Key, Label, Metrics, Objective, Params

NONE = jnp.int32(-1)  # no label

EXPERIMENTS = sorted(
  path
  for path in (Path(__file__).parent.parent / 'experiments').glob('*.py')
  if path.name != 'common.py'
)

DEAR = ('vdm',)  # to compile: they do not stand for their family
QUICK = ('adversarial', 'diffusion', 'linear', 'variational')  # families that tests see by default

# What makes an experiment's model tiny, where its config has the field.
TINY = {
  'network.hidden': (16, 16),
  'autoencoder.network.hidden': (16,),
  'autoencoder.objective.latent': 4,
  'teacher.network.channels': 8,
  'teacher.network.multipliers': (1,),
  'teacher.network.attention': (),
  'teacher.objective.prediction': 'preconditioned',  # so that it is no identity from the beginning
  'teacher.objective.sigma_data': 0.5,
  'objective.teacher_steps': 3,
  'network.channels': 8,
  'network.blocks': 1,
  'network.multipliers': (1,),
  'network.attention': (),
  'network.width': 8,
  'network.depth': 1,
  'network.heads': 2,
  'objective.latent': 4,
  'objective.timesteps': 30,
  'objective.buffer': 200,
  'objective.steps': 5,
  'sampler.steps': 5,
  'evaluation.bound_samples': 3,
  'evaluation.times': 2,
  'evaluation.inference_steps': 5,
}


def facts(shape: tuple[int, int, int], images: int = 100, classes: int = 0) -> Facts:
  """Of data with equally many images of every class."""
  return Facts(shape, images, (images // classes,) * classes if classes else ())


def example(image: Any, label: Label = NONE) -> Example:
  """One image, float (H, W, C)."""
  return Example(jnp.asarray(image, jnp.float32), jnp.asarray(label, jnp.int32), jnp.int32(0))


def examples(images: Any, labels: Any = NONE) -> Example:
  """A batch (N, H, W, C), with a label each or one for all."""
  rows = jnp.arange(len(images), dtype=jnp.int32)
  return Example(
    jnp.asarray(images, jnp.float32), jnp.broadcast_to(jnp.int32(labels), rows.shape), rows
  )


def on_one_device(
  model: Objective,
) -> Callable[[Params, Any, Any, Key], tuple[Params, Any, Metrics]]:
  """`update` of images (N, H, W, C), or of examples, with keys (N,), at step 0."""
  mapped = jax.vmap(model.update, in_axes=None, out_axes=None, axis_name=DEVICES, axis_size=1)

  def update(params: Params, memory: Any, batch: Any, keys: Key, step: int = 0) -> Any:
    batch = batch if isinstance(batch, Example) else examples(batch)
    return mapped(params, memory, batch, keys, jnp.int32(step))

  return update


def draw(model: Objective, params: Params, keys: Key) -> jax.Array:
  """A sample (N, H, W, C) for each of some keys, without labels."""
  return jax.jit(jax.vmap(model.sample, in_axes=(None, None, 0)))(params, NONE, keys)


def dealt(pixels: np.ndarray, devices: int, labels: Any = NONE) -> Example:
  """Batches of uint8 (S, B, H, W, C) as devices get them; rows are places."""
  steps, size = pixels.shape[:2]
  rows = np.tile(np.arange(size, dtype=np.int32), (steps, 1))
  known = np.broadcast_to(np.asarray(labels, np.int32), rows.shape)
  return Example(*(parallel.shard(array, devices) for array in (pixels, known, rows)))


def objective_of(path: Path) -> str:
  """The objective that an experiment's file names."""
  return configuration.execute(str(path)).objective.name


def family_of(path: Path) -> str:
  """The folder of that objective."""
  module = find_module('jaxgen.objectives', objective_of(path), 'build')
  return module.__name__.split('.')[2]


def one_of_each(kind: Callable[[Path], str]) -> list[Path]:
  """The shortest experiment of each kind, or the one that is called as its objective."""
  first: dict[str, Path] = {}

  def rank(path: Path) -> tuple[bool, bool, int]:
    return path.stem in DEAR, path.stem != objective_of(path), len(path.stem)

  for path in sorted(EXPERIMENTS, key=rank):
    first.setdefault(kind(path), path)
  return sorted(first.values())


def one_of_each_objective() -> list[Any]:
  """An experiment of each objective as a parameter; by default of the QUICK families, one each."""
  quick = [path for path in one_of_each(family_of) if family_of(path) in QUICK]
  return [
    pytest.param(path, id=path.stem, marks=[] if path in quick else pytest.mark.slow)
    for path in one_of_each(objective_of)
  ]


def random_like(shapes: Any) -> Any:
  """Parameters of these shapes, drawn, as some begin at zero."""
  leaves, tree = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  drawn = [0.3 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
  return jax.tree.unflatten(tree, drawn)
