"""What models from picture to picture share, whatever their losses.

Symbols: y an image of the data, x what `data.pair` makes of it, G(x) a translation; the critic f
judges patches, a real number each. |a - b|_1 is the mean over pixels, which lie in [-1, 1].
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.pairs import Pair
from jaxgen.layers.convolution import Convolution, StridedConvolution
from jaxgen.networks import find_network
from jaxgen.networks.convolutional import check_halvings
from jaxgen.objectives import base
from jaxgen.objectives.adversarial.game import Turn
from jaxgen.objectives.adversarial.players import leaky_relu
from jaxgen.objectives.base import Example, Image, Key, Keys, Label, Memory, Metrics, Params

# params, x, y, key -> what a player minimises, metrics
TranslationLoss = Callable[[Params, Image, Image, Key], tuple[jax.Array, Metrics]]
Translate = Callable[[Params, Image, Key], Image]  # params, x, key -> G(x)

KEPT = 1024  # conditions that samples are translations of


class Generator(NamedTuple):
  """G, by a network that has been made to denoise: it is told that the time is 0.

  Attributes:
    network: (x (H, W, C), t) -> (H, W, C); tanh brings its output into [-1, 1] here.
  """

  network: nn.Module

  def init(self, key: Key, image_shape: tuple[int, int, int]) -> Params:
    """Parameters for images (H, W, C)."""
    return self.network.init(key, jnp.zeros(image_shape), jnp.float32(0.0))

  def __call__(self, params: Params, x: Image, key: Key | None = None) -> Image:
    """G(x); with a key, that which some of the network's features are dropped by."""
    if key is None or not getattr(self.network, 'dropout', 0.0):
      return jnp.tanh(self.network.apply(params, x, jnp.float32(0.0)))
    dropout = {'training': True, 'rngs': {'dropout': key}}
    return jnp.tanh(self.network.apply(params, x, jnp.float32(0.0), **dropout))


class PatchCritic(nn.Module):
  """An output for every patch of an image, and none for the whole (Isola et al. 2017, sec. 3.2.2).

  With n hidden layers each output sees 5 2^n - 2 pixels each way, its neighbour those 2^n further.
  Nothing is normalised, so that no output is another image's, or another patch's.

  Attributes:
    hidden: channels of the hidden layers, first to last; each halves height and width.
  """

  hidden: tuple[int, ...]

  @nn.compact
  def __call__(self, image: Image) -> jax.Array:
    """(H, W, C) -> (H / 2^n, W / 2^n)."""
    check_halvings(image.shape, len(self.hidden))
    x = image
    for channels in self.hidden:
      x = leaky_relu(StridedConvolution(channels)(x))
    return Convolution(1)(x)[..., 0]


def generator_of(config: ml_collections.ConfigDict) -> Generator:
  """The network that a config's section `network` describes."""
  return Generator(find_network(config.network.name, 'Denoiser')(**base.arguments(config.network)))


def absolute_error(a: Image, b: Image) -> jax.Array:
  """|a - b|_1, in units of which black and white are 2 apart."""
  return jnp.abs(a - b).mean()


def held_out(translate: Translate, pair: Pair) -> Callable[[Params, Example, Key], Metrics]:
  """Numbers of an image: |y - G(x)|_1, and for comparison that of an x which is left as it is."""

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    y, x = example.image, pair(example.image)
    return {
      'l1': absolute_error(y, translate(params, x, key)),
      'l1_untranslated': absolute_error(y, x),
    }

  return evaluate


def of_a_kept_condition(translate: Translate) -> Callable[[Params, Label, Key], Image]:
  """Samples: the translation of a condition that is drawn from those kept."""

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    place_key, key = jax.random.split(key)
    return translate(params, params['conditions'][jax.random.randint(place_key, (), 0, KEPT)], key)

  return sample


def rows(translate: Translate, source: Pair, target: Pair) -> Callable[..., jax.Array]:
  """A figure, each row: what is translated, what it becomes, and the truth."""

  def figure(params: Params, examples: Example, key: Key) -> jax.Array:
    keys = jax.random.split(key, len(examples.image))
    given, truth = (jax.vmap(of)(examples.image) for of in (source, target))
    found = jax.vmap(lambda x, key: translate(params, x, key))(given, keys)
    return jnp.stack([given, found, truth], axis=1)

  return figure


def turn(
  player: str, pair: Pair, optimizer: optax.GradientTransformation, loss: TranslationLoss
) -> Turn:
  """One step of one player against the other as it is."""

  def step(
    params: Params, opt_state: Memory, examples: Example, keys: Keys
  ) -> tuple[Params, Memory, Metrics]:
    def of_one(own: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
      key = jax.random.fold_in(key, ('critic', 'generator').index(player))
      return loss(params | {player: own}, pair(example.image), example.image, key)

    own, opt_state, metrics = base.descend(
      of_one, optimizer, params[player], opt_state, examples, keys
    )
    return params | {player: own}, opt_state, base.prefix(player, metrics)

  return step


def image_to_image(
  init_players: Callable[[Key], Params],
  losses: Mapping[str, TranslationLoss],
  translate: Translate,
  pair: Pair,
  image_shape: tuple[int, int, int],
  optimizer: Mapping[str, optax.GradientTransformation],
) -> base.Objective:
  """One step of the critic, then one of the generator, on the same images.

  A sample is the translation of one of the last KEPT conditions of training, drawn at random; it
  may come near to a training image because its condition says so. A code is a condition, and what
  it is decoded to its translation.

  Args:
    init_players: key -> the parameters of 'critic' and 'generator'.
    losses: what each of the two minimises.
    translate: params, x, key -> G(x).
    pair: y -> x.
    image_shape: (H, W, C).
    optimizer: one for each of the two.
  """

  turns = {name: turn(name, pair, optimizer[name], loss) for name, loss in losses.items()}

  def init(key: Key) -> tuple[Params, Memory]:
    players_key, kept_key = jax.random.split(key)
    players = init_players(players_key)
    noise = jax.random.uniform(kept_key, (KEPT, *image_shape), minval=-1.0, maxval=1.0)
    memory = {player: optimizer[player].init(own) for player, own in players.items()}
    return players | {'conditions': noise}, memory

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    del step
    states, metrics = {}, {}
    for player in ('critic', 'generator'):
      params, states[player], found = turns[player](params, memory[player], examples, keys)
      metrics |= found
    seen = base.gather(jax.vmap(pair)(examples.image))
    kept = jnp.concatenate([seen, params['conditions']])[:KEPT]
    return params | {'conditions': kept}, states, metrics

  return base.Objective(
    init,
    update,
    held_out(translate, pair),
    of_a_kept_condition(translate),
    encode=lambda params, image, key: pair(image),
    decode=translate,
    figures={'translations': rows(translate, pair, lambda y: y)},
    # The critic judges the generator as it is; conditions are the data's.
    averaged={'generator': True, 'critic': False, 'conditions': False},
    of_noise=False,
  )
