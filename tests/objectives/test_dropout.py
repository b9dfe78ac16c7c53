"""Features are left out of a denoiser in training, and in nothing else."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from jaxgen import configuration, objectives
from jaxgen.fields import flatten
from jaxgen.objectives.base import Objective
from tests.examples import TINY, example, examples, facts, on_one_device

ROOT = Path(__file__).parent.parent.parent
SHAPE = (4, 4, 1)


class Denoiser(nn.Module):
  """Some of the first colours of what it sees."""

  dropout: float = 0.0
  output_channels: int = 0
  interval: bool = False

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    t: jax.Array,
    interval: jax.Array | None = None,
    training: bool = False,
  ) -> jax.Array:
    size = self.param('size', nn.initializers.ones, ())
    kept = nn.Dropout(self.dropout, deterministic=not training)(x)
    return size * kept[..., : self.output_channels or x.shape[-1]]


def model(experiment: str, dropout: float) -> Objective:
  config = configuration.load(f'{ROOT}/experiments/{experiment}.py', None, [])
  known = dict(flatten(config.to_dict()))
  config.update_from_flattened_dict({name: v for name, v in TINY.items() if name in known})
  config.network = ml_collections.ConfigDict({'name': __name__, 'dropout': dropout})
  return objectives.find_objective(config, facts(SHAPE))


@pytest.mark.parametrize('experiment', ['ddpm', 'edm', 'mean_flow', 'vdm'])
def test_training_leaves_features_out_and_evaluation_does_not(experiment: str) -> None:
  """Half of what a network passes on; with the same noise, the loss is another, and no bound is."""
  key = jax.random.key(0)
  images = jax.random.uniform(key, (8, *SHAPE), minval=-1.0)
  keys = jax.random.split(jax.random.key(1), 8)
  losses, bounds = [], []
  for dropout in (0.0, 0.5):
    objective = model(experiment, dropout)
    params, memory = objective.init(key)
    update = jax.jit(on_one_device(objective))
    losses.append(update(params, memory, examples(images), keys)[2]['loss'])
    bounds.append(jax.jit(objective.evaluate)(params, example(images[0]), key))
  assert abs(losses[0] - losses[1]) > 1e-5  # of which adaptive weights leave little
  for name, value in bounds[0].items():
    np.testing.assert_array_equal(value, bounds[1][name], err_msg=name)
  assert all(jnp.isfinite(loss) for loss in losses)
