"""A model of one number and data of three splits that cannot be mistaken for one another.

The splits are images of one grey level each, and the model goes half of the way to the mean pixel
of every batch: its numbers say what they were made of, and it trains in a second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import datasets, objectives
from jaxgen.datasets import splits
from jaxgen.objectives import base
from jaxgen.objectives.base import Example, Image, Key, Keys, Label, Metrics, Objective, Params

ROOT = Path(__file__).parent.parent
TRAIN, VALIDATION, TEST = 40, 120, 200  # the mean of every pixel, which differs by 20 from it
SHAPE = (2, 2, 1)
STEPS = 4
DECAY = 0.5
START = 0.9  # the parameter before the first update
SMALL = {
  'num_steps': STEPS,
  'steps_per_call': 1,
  'batch_size': 16,
  'ema_decay': DECAY,
  'log_every': 1,
  'checkpoint.every': 2,
  'checkpoint.best': '',
  'evaluation.every': 2,
  'evaluation.batch_size': 4,
  'evaluation.training_samples': 12,
  'evaluation.num_samples': 12,
}


def pixel(value: float) -> float:
  """A grey level as models see it."""
  return value / 127.5 - 1.0


def halfway() -> Objective:
  """One number that goes half of the way to the mean pixel of each batch; its samples show it.

  One pixel of a sample is noise, for samples to differ.
  """

  def init(key: Key) -> tuple[Params, Any]:
    return {'w': jnp.float32(START)}, ()

  def update(
    params: Params, memory: Any, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Any, Metrics]:
    mean = jax.lax.pmean(examples.image.mean(), base.DEVICES)
    return {'w': 0.5 * (params['w'] + mean)}, memory, {'loss': mean}

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    noise = jax.random.uniform(key)
    return {
      'pixel': example.image.mean(),
      'w': params['w'],
      'noise': noise,
      'noise_squared': noise**2,
    }

  def sample(params: Params, label: Label, key: Key) -> Image:
    return jnp.full(SHAPE, params['w']).at[0, 0, 0].set(jax.random.uniform(key))

  def seen(params: Params, examples: Example, key: Key) -> jax.Array:
    return examples.image[None]

  return Objective(init, update, evaluate, sample, figures={'seen': seen})


def grey(value: int, count: int) -> splits.Split:
  """All 16 ways in which four pixels may lie 20 above or below a value, again and again."""
  signs = 1 - 2 * ((np.arange(count)[:, None] >> np.arange(4)) & 1)
  return splits.Split((value + 20 * signs).astype(np.uint8).reshape(count, *SHAPE))


DATA = splits.Dataset(grey(TRAIN, 16), grey(VALIDATION, 32), grey(TEST, 64))


def command(workdir: Path) -> list[str]:
  """The arguments that train it there."""
  fields = [f'--config.{name}={value}' for name, value in SMALL.items()]
  return [f'--config={ROOT}/experiments/vae.py', f'--workdir={workdir}', *fields]


@contextmanager
def at_hand(folder: Path) -> Iterator[pytest.MonkeyPatch]:
  """Lets any config train that model on that data, with a cache in this folder."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(datasets, 'load', lambda _: DATA)
    patch.setattr(objectives, 'find_objective', lambda *_: halfway())
    patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    yield patch
