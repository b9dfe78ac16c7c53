"""CycleGAN: translations between two sets of pictures, there and back again, that no pair teaches
(Zhu et al. 2017).

Symbols: y an image, x a picture of the other set, G: x -> y, F: y -> x, f_x and f_y critics of
either set's patches. Every term of the losses looks at x or at y alone: which x stands beside which
y in a batch changes nothing, and that one was made of the other is not to be learned from them.
"""

from collections.abc import Callable

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
  rows,
)
from jaxgen.objectives.adversarial.losses import LOSSES
from jaxgen.objectives.adversarial.watch import told_apart
from jaxgen.objectives.base import Example, Image, Key, Metrics, Objective, Params

SQUARES = LOSSES['least_squares']  # each halved


def cycle_gan_losses(
  generator: Generator, critic: PatchCritic, cycle: float, identity: float
) -> dict[str, TranslationLoss]:
  """What the two generators together and the two critics together minimise.

  Args:
    generator: the network of G and of F.
    critic: that of f_x and of f_y.
    cycle: lambda.
    identity: weight of the identity loss in units of lambda.
  """

  def translators(params: Params) -> tuple[Callable[[Image], Image], ...]:
    """G and F."""
    of = params['generator']
    return lambda x: generator(of['there'], x), lambda y: generator(of['back'], y)

  def judged(params: Params, **pictures: tuple[Image, Image]) -> list[tuple[jax.Array, ...]]:
    """f_x or f_y of a real and a fake picture of its set, an output for every patch."""
    return [
      tuple(critic.apply(params['critic'][own], picture) for picture in both)
      for own, both in pictures.items()
    ]

  def critic_loss(params: Params, x: Image, y: Image, key: Key) -> tuple[jax.Array, Metrics]:
    """(f_y(y) - 1)^2 + f_y(G(x))^2, and the same of f_x (sec. 4)."""
    del key
    G, F = translators(params)
    both = judged(params, x=(x, F(y)), y=(y, G(x)))
    value = sum(2.0 * SQUARES.critic(r, g).mean() for r, g in both)
    return value, {'told_apart': sum(told_apart(r, g).mean() for r, g in both) / 2.0}

  def generator_loss(params: Params, x: Image, y: Image, key: Key) -> tuple[jax.Array, Metrics]:
    """(f_y(G(x)) - 1)^2 + (f_x(F(y)) - 1)^2 + lambda (cycle + identity), see below (eq. 3)."""
    del key
    G, F = translators(params)
    fake_x, fake_y = F(y), G(x)
    both = judged(params, x=(x, fake_x), y=(y, fake_y))
    value = sum(2.0 * SQUARES.generator(r, g).mean() for r, g in both)
    metrics = {
      'cycle': absolute_error(F(fake_y), x) + absolute_error(G(fake_x), y),  # eq. 2
      'identity': absolute_error(G(y), y) + absolute_error(F(x), x),  # sec. 5.2
    }
    value += cycle * (metrics['cycle'] + identity * metrics['identity'])
    return value, metrics

  return {'critic': critic_loss, 'generator': generator_loss}


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The CycleGAN that a config describes.

  Raises:
    ValueError: data.pair names no pairs, a weight is negative, or features are to be dropped.
  """
  cycle, identity = config.objective.cycle, config.objective.identity
  if min(cycle, identity) < 0.0:
    raise ValueError(
      f'objective.cycle={cycle} and objective.identity={identity} must not be negative'
    )
  if dropout := config.network.get('dropout', 0.0):
    raise ValueError(f'network.dropout={dropout} has no effect on cycle_gan: set it to 0')
  generator, critic = generator_of(config), PatchCritic(config.critic_network.hidden)
  pair = find_pair(config.data.pair, facts.image_shape)

  def init_players(key: Key) -> Params:
    keys = jax.random.split(key, 4)
    image = jnp.zeros(facts.image_shape)
    return {
      'generator': {
        'there': generator.init(keys[0], facts.image_shape),
        'back': generator.init(keys[1], facts.image_shape),
      },
      'critic': {'x': critic.init(keys[2], image), 'y': critic.init(keys[3], image)},
    }

  def there(params: Params, x: Image, key: Key) -> Image:
    return generator(params['generator']['there'], x)

  def back(params: Params, y: Image, key: Key) -> Image:
    return generator(params['generator']['back'], y)

  losses = cycle_gan_losses(generator, critic, cycle, identity)
  model = image_to_image(
    init_players, losses, there, pair, facts.image_shape, optimizers_of(config, 1)
  )

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    """As of any model from picture to picture, and |x - F(y)|_1."""
    x, y = pair(example.image), example.image
    found = {'l1_back': absolute_error(x, back(params, y, key))}
    return model.evaluate(params, example, key) | found

  return model._replace(
    evaluate=evaluate,
    figures=model.figures | {'back': rows(back, lambda y: y, pair)},
    networks={'generator': generator.network, 'critic': critic},
  )
