"""Boundary equilibrium GAN: the critic is an autoencoder, kept in balance (Berthelot et al. 2017).

Symbols: D an autoencoder, L(x) = mean |x - D(x)| over pixels, k_t in [0, 1] how much the critic
minds the fake images, gamma the ratio L(G(z)) / L(x) that is aimed at: the lower, the sharper and
the less diverse samples are.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives.adversarial.game import State, game, game_arguments, optimizers_of
from jaxgen.objectives.adversarial.players import Critic, Players
from jaxgen.objectives.base import Image, Key, Metrics, Objective, arguments


class ReconstructionError(nn.Module):
  """L(x), the mean absolute error of an autoencoder's pixels.

  Attributes:
    encoder: (H, W, C) -> (code,).
    decoder: (code,) -> (H, W, C); tanh brings its output into [-1, 1] here.
  """

  encoder: nn.Module
  decoder: nn.Module

  def __call__(self, image: Image) -> jax.Array:
    """(H, W, C) -> (1,)."""
    return jnp.abs(image - jnp.tanh(self.decoder(self.encoder(image)))).mean()[None]


def critic_loss(
  f: Critic, real: Image, fake: Image, key: Key, state: jax.Array
) -> tuple[jax.Array, Metrics]:
  """L(x) - k_t L(G(z)) (sec. 3.3)."""
  del key
  real_error, fake_error = f(real), f(fake)
  return real_error - state * fake_error, {'real_error': real_error, 'fake_error': fake_error}


def generator_loss(
  f: Critic, real: Image, fake: Image, key: Key, state: jax.Array
) -> tuple[jax.Array, Metrics]:
  """L(G(z)) (sec. 3.3)."""
  del real, key, state
  return f(fake), {}


def balance(k: jax.Array, metrics: Metrics, gamma: float, rate: float) -> tuple[jax.Array, Metrics]:
  """k_{t+1} = k_t + rate (gamma L(x) - L(G(z))), within [0, 1] (sec. 3.3).

  Returns:
    It, and with it the convergence measure L(x) + |gamma L(x) - L(G(z))| (sec. 3.4).
  """
  real_error = metrics['critic/real_error']
  gap = gamma * real_error - metrics['generator/loss']
  k = jnp.clip(k + rate * gap, 0.0, 1.0)
  return k, {'k': k, 'convergence': real_error + jnp.abs(gap)}


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The BEGAN that a config describes.

  Raises:
    ValueError: gamma outside (0, 1], or a rate that is not positive.
  """
  hyperparameters = game_arguments(config)
  gamma, rate = hyperparameters.pop('gamma'), hyperparameters.pop('k_rate')
  if not 0.0 < gamma <= 1.0 or rate <= 0.0:
    raise ValueError(
      f'objective.gamma={gamma} must lie in (0, 1] and objective.k_rate={rate} above 0'
    )
  code, section = hyperparameters.pop('code'), config.critic_network
  name, shape = section.name, arguments(section) | {'activation': nn.elu}
  players = Players(
    find_network(config.network.name, 'Decoder')(facts.image_shape, **arguments(config.network)),
    ReconstructionError(
      find_network(name, 'Encoder')(code, **shape),
      find_network(name, 'Decoder')(facts.image_shape, **shape),
    ),
    facts.image_shape,
    config.objective.latent,
  )
  return game(
    players=players,
    optimizer=optimizers_of(config, config.objective.critic_steps),
    critic_loss=critic_loss,
    generator_loss=generator_loss,
    state=State(jnp.float32(0.0), partial(balance, gamma=gamma, rate=rate)),
    **hyperparameters,
  )
