"""pix2pix: a conditional GAN from picture to picture, and an L1 error (Isola et al. 2017).

Symbols: y an image, x its condition, z the noise of G, which are the features that dropout leaves
(sec. 3.1), G(x, z) the translation, f(x, y) the critic's logit of every patch.
"""

import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.pairs import find_pair
from jaxgen.datasets.splits import Facts
from jaxgen.objectives.adversarial.game import optimizers_of
from jaxgen.objectives.adversarial.image_to_image import (
  Generator,
  PatchCritic,
  TranslationLoss,
  absolute_error,
  generator_of,
  image_to_image,
)
from jaxgen.objectives.adversarial.losses import non_saturating, value
from jaxgen.objectives.adversarial.watch import told_apart
from jaxgen.objectives.base import Image, Key, Metrics, Objective, Params


def pix2pix_losses(
  generator: Generator, critic: PatchCritic, l1: float
) -> dict[str, TranslationLoss]:
  """What the two players minimise (eq. 4), means over patches.

  Args:
    generator: G.
    critic: f, which sees x and y as channels of one image.
    l1: lambda.
  """

  def play(params: Params, x: Image, y: Image, key: Key) -> tuple[jax.Array, jax.Array, Image]:
    """f(x, y), f(x, G(x, z)) and G(x, z)."""
    fake = generator(params['generator'], x, key)
    pairs = (jnp.concatenate([x, image], axis=-1) for image in (y, fake))
    real_logits, fake_logits = (critic.apply(params['critic'], pair) for pair in pairs)
    return real_logits, fake_logits, fake

  def critic_loss(params: Params, x: Image, y: Image, key: Key) -> tuple[jax.Array, Metrics]:
    """-E log D(x, y) - E log(1 - D(x, G(x, z))), D = sigmoid(f) (eq. 1)."""
    r, g, _ = play(params, x, y, key)
    return -value(r, g).mean(), {'told_apart': told_apart(r, g).mean()}

  def generator_loss(params: Params, x: Image, y: Image, key: Key) -> tuple[jax.Array, Metrics]:
    """-E log D(x, G(x, z)) + lambda |y - G(x, z)|_1 (sec. 3.3; eq. 3)."""
    _, g, fake = play(params, x, y, key)
    error = absolute_error(y, fake)
    return non_saturating(g).mean() + l1 * error, {'l1': error}

  return {'critic': critic_loss, 'generator': generator_loss}


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The pix2pix that a config describes.

  Raises:
    ValueError: data.pair names no pairs, or lambda is negative.
  """
  l1 = config.objective.l1
  if l1 < 0.0:
    raise ValueError(f'objective.l1={l1} must not be negative')
  height, width, colours = facts.image_shape
  generator, critic = generator_of(config), PatchCritic(config.critic_network.hidden)

  def init_players(key: Key) -> Params:
    generator_key, critic_key = jax.random.split(key)
    return {
      'generator': generator.init(generator_key, facts.image_shape),
      'critic': critic.init(critic_key, jnp.zeros((height, width, 2 * colours))),
    }

  model = image_to_image(
    init_players,
    pix2pix_losses(generator, critic, l1),
    lambda params, x, key: generator(params['generator'], x, key),
    find_pair(config.data.pair, facts.image_shape),
    facts.image_shape,
    optimizers_of(config, 1),
  )
  return model._replace(networks={'generator': generator.network, 'critic': critic})
