"""Generative adversarial network (Goodfellow et al. 2014).

Symbols: G generator, D discriminator with values in (0, 1); here the critic f is its logit,
D = sigmoid(f). V(G, D) = E log D(x) + E log(1 - D(G(z))), -2 log 2 at the equilibrium.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.adversarial.game import game, game_arguments, optimizers_of
from jaxgen.objectives.adversarial.losses import minimax, non_saturating, value
from jaxgen.objectives.adversarial.players import Critic, players_of
from jaxgen.objectives.adversarial.watch import told_apart
from jaxgen.objectives.base import Image, Key, Metrics, Objective

GENERATOR_LOSSES = {'minimax': minimax, 'non_saturating': non_saturating}


def discriminator_loss(f: Critic, real: Image, fake: Image, key: Key) -> tuple[jax.Array, Metrics]:
  """-V(G, D), with how far V is from its value -2 log 2 at the equilibrium."""
  del key
  real_logit, fake_logit = f(real), f(fake)
  v = value(real_logit, fake_logit)
  return -v, {
    'value_above_equilibrium_nats': v + 2.0 * jnp.log(2.0),
    'd_real': nn.sigmoid(real_logit),
    'd_fake': nn.sigmoid(fake_logit),
    'output_gap': real_logit - fake_logit,
    'told_apart': told_apart(real_logit, fake_logit),
  }


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The GAN that a config describes.

  Raises:
    ValueError: an unknown loss of the generator.
  """
  hyperparameters = game_arguments(config)
  name = hyperparameters.pop('generator_loss')
  if name not in GENERATOR_LOSSES:
    raise ValueError(
      f'objective.generator_loss={name!r}; choose one of {", ".join(GENERATOR_LOSSES)}'
    )

  def generator_loss(f: Critic, real: Image, fake: Image, key: Key) -> tuple[jax.Array, Metrics]:
    del real, key
    return GENERATOR_LOSSES[name](f(fake)), {}

  return game(
    players=players_of(config, facts),
    optimizer=optimizers_of(config, config.objective.critic_steps),
    critic_loss=discriminator_loss,
    generator_loss=generator_loss,
    **hyperparameters,
  )
