"""Conditional GAN: both players see the label (Mirza & Osindero 2014).

Symbols: y label, G(z | y) generator, f(x | y) critic. A fake image has the label of the real one
beside which the critic sees it, so that both come as often as the data have them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.adversarial.gan import gan
from jaxgen.objectives.adversarial.players import players_of
from jaxgen.objectives.base import Image, Label, Objective


class LabelledGenerator(nn.Module):
  """G(z | y): the label stands beside the latent as so many zeros and a one.

  Attributes:
    network: (latent + classes,) -> (H, W, C).
    classes: how many there are.
  """

  network: nn.Module
  classes: int

  def __call__(self, z: jax.Array, label: Label) -> Image:
    """(latent,), () -> (H, W, C)."""
    return self.network(jnp.concatenate([z, jax.nn.one_hot(label, self.classes)]))


class LabelledCritic(nn.Module):
  """f(x | y): the label stands behind the image as one more channel, a learned one for each class.

  Attributes:
    network: (H, W, C + 1) -> (1,).
    classes: how many there are.
  """

  network: nn.Module
  classes: int

  @nn.compact
  def __call__(self, image: Image, label: Label) -> jax.Array:
    """(H, W, C), () -> (1,)."""
    height, width, _ = image.shape
    plane = nn.Embed(self.classes, height * width)(label).reshape(height, width, 1)
    return self.network(jnp.concatenate([image, plane], axis=-1))


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The conditional GAN that a config describes.

  Raises:
    ValueError: the data have no labels.
  """
  players = players_of(config, facts)
  return gan(
    config,
    players._replace(
      generator=LabelledGenerator(players.generator, facts.classes),
      critic=LabelledCritic(players.critic, facts.classes),
      class_counts=facts.class_counts,
    ),
  )
