"""Games in which both players also take a label, in three ways.

Symbols: y label, G(z | y) generator, f(x | y) critic, phi(x) the last hidden layer of the critic's
network. A fake image has the label of the real one beside which the critic sees it, so that both
come as often as the data have them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.adversarial.players import Critic, PairLoss, Players, players_of
from jaxgen.objectives.base import Image, Key, Label, Metrics


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


class ProjectionCritic(nn.Module):
  """f(x | y) = psi(phi(x)) + e_y . phi(x) (Miyato & Koyama 2018, eq. 3).

  psi is linear, and so both terms are rows of the network's last layer.

  Attributes:
    network: (H, W, C) -> (1 + classes,).
    classes: how many there are.
  """

  network: nn.Module
  classes: int

  def __call__(self, image: Image, label: Label) -> jax.Array:
    """(H, W, C), () -> (1,)."""
    psi, projections = jnp.split(self.network(image), [1])
    return psi + projections[label]


class ClassifyingCritic(nn.Module):
  """f(x), which sees no label, and log P(y | x) of a classifier on the same phi(x).

  Attributes:
    network: (H, W, C) -> (1 + classes,).
    classes: how many there are.
  """

  network: nn.Module
  classes: int

  def __call__(self, image: Image, label: Label) -> jax.Array:
    """(H, W, C), () -> (2,)."""
    f, logits = jnp.split(self.network(image), [1])
    return jnp.append(f, nn.log_softmax(logits)[label])


CRITICS = {
  'concatenation': LabelledCritic,  # Mirza & Osindero 2014
  'projection': ProjectionCritic,
  'auxiliary': ClassifyingCritic,  # Odena et al. 2017
}


def conditional_players(
  conditional: str, config: ml_collections.ConfigDict, facts: Facts
) -> Players:
  """Both players as a config describes them, with labels for both unless that is 'none'.

  Raises:
    ValueError: it is unknown, or the data have no labels.
  """
  if conditional == 'none':
    return players_of(config, facts)
  if conditional not in CRITICS:
    raise ValueError(
      f'objective.conditional={conditional!r}; choose one of none, {", ".join(CRITICS)}'
    )
  outputs = 1 if conditional == 'concatenation' else 1 + facts.classes
  players = players_of(config, facts, outputs)
  return players._replace(
    generator=LabelledGenerator(players.generator, facts.classes),
    critic=CRITICS[conditional](players.critic, facts.classes),
    class_counts=facts.class_counts,
  )


def classifying(loss: PairLoss, of_real: bool) -> PairLoss:
  """A player's loss with -log P(y | x), or else -log P(y | G(z | y)), for a `ClassifyingCritic`.

  The critic learns the classes of real images, and the generator to draw what it calls y. Odena et
  al. 2017, eq. 3, count both images for both players; but of fake ones a critic learns to call y
  whatever the generator makes of y, which on digits was less often of the class asked for.
  """

  def both(f: Critic, real: Image, fake: Image, key: Key) -> tuple[jax.Array, Metrics]:
    value, metrics = loss(lambda image: f(image)[0], real, fake, key)
    nats = -f(real if of_real else fake)[1]
    return value + nats, metrics | {'class_nats': nats}

  return both
