"""Joint energy model: a classifier whose logits are energies too (Grathwohl et al. 2020).

Symbols: f(x)[y] the logits, T temperature. The density of an image and its class is, up to a
constant, exp(f(x)[y] / T), so that of the image is exp(-E(x) / T) with E = -T logsumexp(f(x) / T).
That of the class given the image is softmax(f(x) / T), whatever the constant (eqs. 4 to 7, where
T = 1).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, optimizers
from jaxgen.objectives.base import Label, Metrics, Objective
from jaxgen.objectives.energy.persistent import Reading, build_persistent


def joint(temperature: float) -> Reading:
  """Logits as energies, of a class or of the image alone, and as a classifier; temperature is T."""

  def energy(logits: jax.Array, label: Label | int) -> jax.Array:
    """-f(x)[y], or without a label -T logsumexp(f(x) / T)."""
    of_image = -temperature * jax.nn.logsumexp(logits / temperature)
    return jnp.where(label < 0, of_image, -logits[label])

  def learn(logits: jax.Array, label: Label) -> tuple[jax.Array, Metrics]:
    """-T log p(y | x), as energies are -T log p(x), and whether y is the likeliest class."""
    cross_entropy = -jax.nn.log_softmax(logits / temperature)[label]
    accuracy = jnp.float32(jnp.argmax(logits) == label)
    return temperature * cross_entropy, {'cross_entropy_nats': cross_entropy, 'accuracy': accuracy}

  return Reading(energy, learn, conditional=True)


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes.

  Raises:
    ValueError: the data have no labels.
  """
  network = find_network(config.network.name, 'Encoder')
  return build_persistent(
    config,
    facts.image_shape,
    network(facts.classes, activation=nn.swish, **base.arguments(config.network)),
    joint(config.objective.temperature),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
  )
