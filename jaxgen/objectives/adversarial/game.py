"""The game of a generator and a critic (alg. 1 of Goodfellow et al. 2014 and Arjovsky et al. 2017).

GAN and WGAN differ in their two losses and in what is done to the critic after a step; the game is
the same. Symbols: G generator, f critic (a real number an image), x real, G(z) fake, z ~ N(0, I).
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.networks import find_network
from jaxgen.objectives import optimizers
from jaxgen.objectives.base import (
  Image,
  Images,
  Key,
  Keys,
  Metrics,
  Objective,
  OptState,
  Params,
  arguments,
  descend,
  prefix,
)

Critic = Callable[[Image], jax.Array]  # (H, W, C) -> scalar
PairLoss = Callable[[Critic, Image, Image, Key], tuple[jax.Array, Metrics]]  # f, x, G(z), key


def game(
  generator: nn.Module,
  critic: nn.Module,
  optimizer: dict[str, optax.GradientTransformation],
  critic_loss: PairLoss,
  generator_loss: PairLoss,
  image_shape: tuple[int, int, int],
  latent: int,
  critic_steps: int = 1,
  project: Callable[[Params], Params] = lambda critic: critic,
) -> Objective:
  """`critic_steps` steps of the critic, each on fresh images, then one step of the generator.

  Args:
    generator: (latent,) -> (H, W, C); tanh brings its output into [-1, 1] here.
    critic: (H, W, C) -> (1,).
    optimizer: one for 'generator', one for 'critic'.
    critic_loss: what the critic minimises, for one real and one fake image.
    generator_loss: what the generator minimises; its gradient reaches G through the fake image.
    image_shape: (H, W, C).
    latent: dimension of z.
    critic_steps: how often the critic steps before the generator does; a batch holds the images of
      all these steps.
    project: applied to the critic's parameters after each of its steps.

  Raises:
    ValueError: no latent dimension, or no critic steps.
  """
  if latent < 1 or critic_steps < 1:
    raise ValueError(
      f'objective.latent={latent} and objective.critic_steps={critic_steps} must be at least 1'
    )

  def init(key: Key) -> tuple[Params, OptState]:
    generator_key, critic_key = jax.random.split(key)
    params = {
      'generator': generator.init(generator_key, jnp.zeros(latent)),
      'critic': project(critic.init(critic_key, jnp.zeros(image_shape))),
    }
    return params, {name: optimizer[name].init(params[name]) for name in params}

  def generate(params: Params, key: Key) -> Image:
    return jnp.tanh(generator.apply(params, jax.random.normal(key, (latent,))))

  def play(
    loss: PairLoss, generator: Params, f: Params, image: Image, key: Key
  ) -> tuple[jax.Array, Metrics]:
    """A loss of one real image and one fake, as a function of both players' parameters."""
    latent_key, loss_key = jax.random.split(key)
    fake = generate(generator, latent_key)
    return loss(lambda image: critic.apply(f, image).squeeze(), image, fake, loss_key)

  def update(
    params: Params, opt_state: OptState, images: Images, keys: Keys
  ) -> tuple[Params, OptState, Metrics]:
    generator, f = params['generator'], params['critic']
    slices, slice_keys = critic_slices(images, keys, critic_steps)

    def critic_step(carry: tuple[Params, OptState], batch: tuple[Images, Keys]) -> Any:
      def loss(f: Params, image: Image, key: Key) -> tuple[jax.Array, Metrics]:
        return play(critic_loss, generator, f, image, jax.random.fold_in(key, 0))

      f, state, metrics = descend(loss, optimizer['critic'], *carry, *batch)
      return (project(f), state), metrics

    (f, f_state), f_metrics = jax.lax.scan(
      critic_step, (f, opt_state['critic']), (slices, slice_keys)
    )

    def loss(generator: Params, image: Image, key: Key) -> tuple[jax.Array, Metrics]:
      return play(generator_loss, generator, f, image, jax.random.fold_in(key, 1))

    generator, g_state, g_metrics = descend(
      loss, optimizer['generator'], generator, opt_state['generator'], slices[0], slice_keys[0]
    )
    last = jax.tree.map(lambda values: values[-1], f_metrics)
    return (
      {'generator': generator, 'critic': f},
      {'generator': g_state, 'critic': f_state},
      prefix('critic', last) | prefix('generator', g_metrics),
    )

  def evaluate(params: Params, image: Image, key: Key) -> Metrics:
    return play(critic_loss, params['generator'], params['critic'], image, key)[1]

  def sample(params: Params, key: Key) -> Image:
    return generate(params['generator'], key)

  # The critic has learned to judge the generator as it is, not an average of critics of the past.
  averaged = {'generator': True, 'critic': False}
  return Objective(init, update, evaluate, sample, averaged=averaged)


def critic_slices(images: Images, keys: Keys, critic_steps: int) -> tuple[Images, Keys]:
  """(N, ...) -> (critic_steps, N / critic_steps, ...): fresh images for every critic step.

  Raises:
    ValueError: the batch on one device does not divide.
  """
  if len(images) % critic_steps:
    raise ValueError(
      f'{len(images)} images a device cannot be divided among objective.critic_steps='
      f'{critic_steps}: make batch_size a multiple of devices times critic_steps'
    )
  size = len(images) // critic_steps
  return tuple(a.reshape(critic_steps, size, *a.shape[1:]) for a in (images, keys))


def players(config: ml_collections.ConfigDict, image_shape: tuple[int, int, int]) -> dict[str, Any]:
  """Both networks and their optimizers as a config describes them: arguments of `game`.

  Schedules count the generator's steps for both players, so that their warmups end together.
  """
  name, shape = config.network.name, arguments(config.network)
  steps = config.objective.critic_steps
  critic = config.critic_optimizer.to_dict()
  critic['warmup_steps'] = steps * critic.get('warmup_steps', 0)
  return {
    'generator': find_network(name, 'Decoder')(image_shape, **shape),
    'critic': find_network(name, 'Encoder')(1, activation=leaky_relu, **shape),
    'optimizer': {
      'generator': optimizers.build(**config.optimizer, num_steps=config.num_steps),
      'critic': optimizers.build(**critic, num_steps=config.num_steps * steps),
    },
    'image_shape': image_shape,
  }


def leaky_relu(x: jax.Array) -> jax.Array:
  """Slope 0.2 below zero (Radford et al. 2016): a critic that is flat anywhere teaches nothing."""
  return nn.leaky_relu(x, 0.2)
