"""Energy of an image by a network, learned with persistent chains (Du & Mordatch 2019).

What the network says is the energy; see `persistent` for how it is learned and `langevin` for how
chains are run.
"""

import flax.linen as nn
import jax
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, optimizers
from jaxgen.objectives.base import Label, Metrics, Objective
from jaxgen.objectives.energy.persistent import Reading, build_persistent


def energy(output: jax.Array, label: Label | int) -> jax.Array:
  """E, the only output."""
  del label
  return output[0]


def nothing(output: jax.Array, label: Label) -> tuple[jax.Array, Metrics]:
  """What is learned beside the energy."""
  del output, label
  return 0.0, {}


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  network = find_network(config.network.name, 'Encoder')
  return build_persistent(
    config,
    facts.image_shape,
    network(1, activation=nn.swish, **base.arguments(config.network)),
    Reading(energy, nothing),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
  )
