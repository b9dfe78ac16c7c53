"""The two players of a game: what they draw, and how they judge."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.layers.normalisation import BATCH_AXES, STATISTICS, standing
from jaxgen.networks import find_network
from jaxgen.objectives.base import (
  Example,
  Image,
  Key,
  Label,
  Metrics,
  Params,
  arguments,
  draw_label,
)

Critic = Callable[[Image], jax.Array]  # (H, W, C) -> scalar
PairLoss = Callable[..., tuple[jax.Array, Metrics]]  # f, x, G(z), key -> scalar, metrics
STANDING = 1024  # latents that standing statistics are taken over


class Players(NamedTuple):
  """Two networks; in a conditional game both also take a label.

  Attributes:
    generator: (latent,) -> (H, W, C); tanh brings its output into [-1, 1] here.
    critic: (H, W, C) -> (1,), or a longer vector, which the losses then see.
    image_shape: (H, W, C).
    latent: dimension of z.
    class_counts: training images of each class, where both players take a label, int32 (), besides;
      else ().
    truncation: within which every entry of a sample's z lies, 0 for no bounds (Brock et al. 2019,
      sec. 3.1): the narrower, the better and the less diverse samples are.
  """

  generator: nn.Module
  critic: nn.Module
  image_shape: tuple[int, int, int]
  latent: int
  class_counts: tuple[int, ...] = ()
  truncation: float = 0.0

  @property
  def keep_statistics(self) -> dict[str, bool]:
    """Which of the two normalise over the batch, so that no output is one example's alone."""
    shapes = jax.eval_shape(self.init, jax.random.key(0))
    return {player: STATISTICS in variables for player, variables in shapes.items()}

  def given(self, x: jax.Array, label: Label) -> tuple[jax.Array, ...]:
    """What a player sees."""
    return (x, label) if self.class_counts else (x,)

  def init(self, key: Key) -> Params:
    """Variables of both."""
    generator_key, critic_key = jax.random.split(key)
    z, image, label = jnp.zeros(self.latent), jnp.zeros(self.image_shape), jnp.int32(0)
    return {
      'generator': self.generator.init(generator_key, *self.given(z, label)),
      'critic': self.critic.init(critic_key, *self.given(image, label)),
    }

  def draw(self, key: Key, shape: tuple[int, ...] = ()) -> jax.Array:
    """z of samples, (*shape, latent): standard normal numbers, those out of bounds drawn anew."""
    shape = (*shape, self.latent)
    if not self.truncation:
      return jax.random.normal(key, shape)
    return jax.random.truncated_normal(key, -self.truncation, self.truncation, shape)

  def generate(
    self, variables: Params, z: jax.Array, label: Label, training: bool = False
  ) -> tuple[Image, Params]:
    """G(z), and the generator's variables after it."""
    output, variables = forward(self.generator, variables, training, *self.given(z, label))
    return jnp.tanh(output), variables

  def decode(self, params: Params, z: jax.Array, label: Label) -> Image:
    """G(z)."""
    return self.generate(params['generator'], z, label)[0]

  def sample(self, params: Params, label: Label, key: Key) -> Image:
    """G(z) of a z of samples."""
    return self.decode(params, self.draw(key), label)

  def play(
    self, loss: PairLoss, params: Params, example: Example, key: Key, training: bool = False
  ) -> tuple[jax.Array, Metrics, Params]:
    """A loss of one real image and one fake: its value, its metrics, and both players after it."""
    latent_key, loss_key = jax.random.split(key)
    z = jax.random.normal(latent_key, (self.latent,))
    fake, generator = self.generate(params['generator'], z, example.label, training)
    critic = params['critic']

    def f(image: Image) -> jax.Array:
      nonlocal critic  # whose statistics, if it keeps any, follow every image that it judges
      inputs = self.given(image, example.label)
      output, critic = forward(self.critic, critic, training, *inputs)
      return output.squeeze()

    value, metrics = loss(f, example.image, fake, loss_key)
    return value, metrics, {'generator': generator, 'critic': critic}

  def settle(self, params: Params, key: Key) -> Params:
    """A generator that normalises over batches, with standing statistics (Brock et al. 2019).

    Its own are an average over generators of the past, or belong to weights that were averaged.
    These are of STANDING latents under the weights as they are; no sample then depends on others.
    """
    generator = params['generator']
    latent_key, label_key = jax.random.split(key)
    z = self.draw(latent_key, (STANDING,))
    labels = jax.vmap(partial(draw_label, self.class_counts))(jax.random.split(label_key, STANDING))
    blank = generator | {STATISTICS: jax.tree.map(jnp.zeros_like, generator[STATISTICS])}

    def seen(z: jax.Array, label: Label) -> Params:
      return self.generate(blank, z, label, training=True)[1][STATISTICS]

    for axis in BATCH_AXES:
      seen = jax.vmap(seen, axis_name=axis)
    every = seen(z[None], labels[None])  # one device's
    found = standing(jax.tree.map(lambda moments: moments[0, 0], every))
    return params | {'generator': generator | {STATISTICS: found}}


def forward(
  network: nn.Module, variables: Params, training: bool, *inputs: jax.Array
) -> tuple[jax.Array, Params]:
  """A network's output; in training also its variables with new statistics, where it keeps any."""
  if not training or STATISTICS not in variables:
    return network.apply(variables, *inputs), variables
  output, new = network.apply(variables, *inputs, mutable=[STATISTICS])
  return output, variables | new


def players_of(config: ml_collections.ConfigDict, facts: Facts, outputs: int = 1) -> Players:
  """Both networks as a config describes them, the critic's with so many outputs."""
  name, shape = config.network.name, arguments(config.network)
  return Players(
    find_network(name, 'Decoder')(facts.image_shape, **shape),
    find_network(name, 'Encoder')(outputs, activation=leaky_relu, **shape),
    facts.image_shape,
    config.objective.latent,
  )


def leaky_relu(x: jax.Array) -> jax.Array:
  """Slope 0.2 below zero (Radford et al. 2016): a critic that is flat anywhere teaches nothing."""
  return nn.leaky_relu(x, 0.2)
