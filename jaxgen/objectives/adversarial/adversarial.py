"""Any loss of two players under any constraint on the critic that makes sense with it, with labels
or without.

Symbols: f critic, x real, G(z) fake. `losses`, `constraints`, `spectral` and `conditional` have the
equations; `hinge` under `none` is Lim & Ye 2017, `least_squares` Mao et al. 2017, `relativistic`
under `r1_and_r2` the R3GAN of Huang et al. 2024.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.adversarial.augmentation import adaptive, check_translation, translated
from jaxgen.objectives.adversarial.conditional import classifying, conditional_players
from jaxgen.objectives.adversarial.constraints import PENALTIES, Penalty, clip_weights, slope
from jaxgen.objectives.adversarial.game import game, game_arguments, optimizers_of
from jaxgen.objectives.adversarial.losses import LOSSES, Losses
from jaxgen.objectives.adversarial.players import Critic, PairLoss
from jaxgen.objectives.adversarial.spectral import (
  SpectrallyNormalised,
  check_normalisable,
  power_iteration,
)
from jaxgen.objectives.adversarial.watch import told_apart
from jaxgen.objectives.base import Image, Key, Metrics, Objective

CONSTRAINTS = ('none', 'clip', 'spectral', *PENALTIES)


def critic_loss(losses: Losses, penalty: Penalty | None) -> PairLoss:
  """What the critic minimises, with its outputs and what it was penalised with."""

  def loss(f: Critic, real: Image, fake: Image, key: Key) -> tuple[jax.Array, Metrics]:
    r, g = f(real), f(fake)
    metrics = {'real_output': r, 'fake_output': g, 'output_gap': r - g}
    metrics['told_apart'] = told_apart(r, g)
    if penalty is None:
      return losses.critic(r, g), metrics
    price = penalty(f, real, fake, key)
    return losses.critic(r, g) + price, metrics | {'penalty': price}

  return loss


def generator_loss(losses: Losses, measure_slope: bool) -> PairLoss:
  """What the generator minimises, with the slope of the critic that has just been trained."""

  def loss(f: Critic, real: Image, fake: Image, key: Key) -> tuple[jax.Array, Metrics]:
    metrics = {'critic_slope': slope(f, real, fake, key)} if measure_slope else {}
    return losses.generator(f(real), f(fake)), metrics

  return loss


def distance(metrics: Metrics) -> Metrics:
  """E f(x) - E f(G(z)) for a critic of slope 1: Wasserstein's estimate in the units of images.

  Divided by the mean slope between real and fake images, which a clipped critic leaves at an
  unknown K and a gradient penalty lets exceed 1 by W / (2 lambda).
  """
  gap, steepness = metrics['critic/output_gap'], metrics['generator/critic_slope']
  return {'distance_over_slope': gap / jnp.maximum(steepness, 1e-12)}


def check(loss: str, constraint: str, penalty: float, clip: float, normalises: bool) -> None:
  """Refuses what is unknown, and what makes no sense together.

  Args:
    loss: its name.
    constraint: its name.
    penalty: lambda or gamma of a penalty.
    clip: window of the critic's weights.
    normalises: whether the critic normalises over the batch.

  Raises:
    ValueError: with the reason.
  """
  for field, name, known in (('loss', loss, LOSSES), ('constraint', constraint, CONSTRAINTS)):
    if name not in known:
      raise ValueError(f'objective.{field}={name!r}; choose one of {", ".join(known)}')
  if constraint in PENALTIES and not 0.0 < penalty < math.inf:
    raise ValueError(f'objective.penalty={penalty} must be positive with constraint={constraint!r}')
  if constraint == 'clip' and not 0.0 < clip < math.inf:
    raise ValueError(f"objective.clip={clip} must be positive with constraint='clip'")
  if loss == 'wasserstein' and constraint == 'none':
    raise ValueError(
      "objective.loss='wasserstein' with objective.constraint='none' has no best critic, as twice "
      f'as steep a one always gains: choose a constraint of {", ".join(CONSTRAINTS[1:])}'
    )
  if normalises and constraint in PENALTIES:
    raise ValueError(
      f'objective.constraint={constraint!r} takes the slope of the critic at one image, but each '
      'output of a critic that normalises over the batch belongs to all images: choose a network '
      'that does not, such as r3gan or convolutional, or constraint none or clip'
    )


def truncation_of(config: ml_collections.ConfigDict) -> float:
  """Within which a sample's latents lie, 0 for no bounds.

  Raises:
    ValueError: it is negative.
  """
  if config.sampler.truncation < 0.0:
    raise ValueError(
      f'sampler.truncation={config.sampler.truncation} must be positive, or 0 for latents as in '
      'training'
    )
  return config.sampler.truncation


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The game that a config describes.

  Raises:
    ValueError: a loss, a constraint or a way of taking labels that is unknown, or they do not go
      together, with these numbers, this critic or these data; or a translation or a truncation
      that cannot be.
  """
  hyperparameters = game_arguments(config)
  loss, constraint = hyperparameters.pop('loss'), hyperparameters.pop('constraint')
  penalty, clip = hyperparameters.pop('penalty'), hyperparameters.pop('clip')
  conditional = hyperparameters.pop('conditional')
  translation, moved = hyperparameters.pop('translation'), hyperparameters.pop('augmentation')
  adapts = hyperparameters.pop('adaptive')
  players = conditional_players(conditional, config, facts)
  players = players._replace(truncation=truncation_of(config))
  normalises = players.keep_statistics['critic']
  check(loss, constraint, penalty, clip, normalises)
  check_translation(translation, moved, adapts, loss, facts.image_shape)
  if constraint == 'clip':
    hyperparameters['project'] = partial(clip_weights, window=clip)
  if constraint == 'spectral':
    check_normalisable(players.critic, *players.given(jnp.zeros(facts.image_shape), jnp.int32(0)))
    players = players._replace(critic=SpectrallyNormalised(players.critic))
    hyperparameters['project'] = power_iteration
  if loss == 'wasserstein' and not normalises:
    hyperparameters['summary'] = distance
  price = PENALTIES[constraint](penalty) if constraint in PENALTIES else None
  both = (
    critic_loss(LOSSES[loss], price),
    generator_loss(LOSSES[loss], measure_slope=not normalises),
  )
  if conditional == 'auxiliary':
    both = classifying(both[0], of_real=True), classifying(both[1], of_real=False)
  if adapts:
    hyperparameters['state'] = adaptive(config.batch_size, moved)
  if translation:
    both = tuple(translated(pair_loss, translation, moved) for pair_loss in both)
  return game(
    players=players,
    optimizer=optimizers_of(config, config.objective.critic_steps),
    critic_loss=both[0],
    generator_loss=both[1],
    **hyperparameters,
  )
