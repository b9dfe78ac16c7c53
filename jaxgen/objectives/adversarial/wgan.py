"""Wasserstein GAN (Arjovsky et al. 2017), with clipped weights or a gradient penalty.

Symbols: f critic, G(z) fake. W(p, p_G) = sup over 1-Lipschitz f of E f(x) - E f(G(z))
(Kantorovich-Rubinstein; eq. 2). Clipping keeps f K-Lipschitz for an unknown K, so that the
estimate is K times W; the penalty of Gulrajani et al. 2017 aims at K = 1.
"""

from functools import partial

import jax
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.adversarial.constraints import clip_weights, slope, two_sided
from jaxgen.objectives.adversarial.game import game, game_arguments, optimizers_of
from jaxgen.objectives.adversarial.players import Critic, players_of
from jaxgen.objectives.base import Image, Key, Metrics, Objective


def distance(f: Critic, real: Image, fake: Image) -> jax.Array:
  """f(x) - f(G(z)), the integrand of the dual form (eq. 2)."""
  return f(real) - f(fake)


def critic_loss(
  f: Critic, real: Image, fake: Image, key: Key, penalty: float
) -> tuple[jax.Array, Metrics]:
  """-(f(x) - f(G(z))) + lambda (slope - 1)^2 (Gulrajani et al. 2017, eq. 3); lambda may be 0."""
  w = distance(f, real, fake)
  loss = -w + penalty * two_sided(slope(f, real, fake, key)) if penalty else -w
  return loss, {'distance_in_critic_units': w}


def generator_loss(f: Critic, real: Image, fake: Image, key: Key) -> tuple[jax.Array, Metrics]:
  """-f(G(z)), with the slope of the critic that has just been trained."""
  return -f(fake), {'critic_slope': slope(f, real, fake, key)}


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The WGAN that a config describes.

  Raises:
    ValueError: an unknown constraint, a window or penalty in use that is not positive, or a critic
      that normalises over the batch.
  """
  hyperparameters = game_arguments(config)
  constraint = hyperparameters.pop('constraint')
  clip, penalty = hyperparameters.pop('clip'), hyperparameters.pop('penalty')
  if constraint not in ('clip', 'penalty'):
    raise ValueError(f'objective.constraint={constraint!r}; choose clip or penalty')
  if (used := clip if constraint == 'clip' else penalty) <= 0:
    raise ValueError(f'objective.{constraint}={used} must be positive')
  players = players_of(config, facts)
  if players.keep_statistics['critic']:
    raise ValueError(
      f'network.name={config.network.name!r} normalises over the batch, so that an output of the '
      'critic belongs to all images and its slope at one of them, which WGANs penalise and report, '
      'is none of f: choose a network that does not, such as convolutional'
    )
  if constraint == 'clip':
    penalty = 0.0
    hyperparameters['project'] = partial(clip_weights, window=clip)
  return game(
    players=players,
    optimizer=optimizers_of(config, config.objective.critic_steps),
    critic_loss=partial(critic_loss, penalty=penalty),
    generator_loss=generator_loss,
    **hyperparameters,
  )
