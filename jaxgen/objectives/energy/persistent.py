"""Persistent contrastive divergence with a replay buffer: what models of an energy share.

Tieleman 2008; Du & Mordatch 2019. Symbols: E energy, T temperature, p(x) = exp(-E(x) / T) / Z.
Nobody knows Z: an energy says which of two images is likelier, and nothing of how likely. The
gradient of -T log p(x) is that of E(x) less the mean of that of E(x') over x' ~ p. The chains that
draw x' rest in a buffer, and go on from where they stood, a few steps whenever they are drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.objectives import base, tables
from jaxgen.objectives.base import (
  Example,
  Image,
  Key,
  Keys,
  Label,
  Memory,
  Metrics,
  Objective,
  Params,
)
from jaxgen.objectives.energy.langevin import Langevin, chain, check, denoised

FRAMES = 10  # pictures of a chain
NONE = -1  # no label


class Reading(NamedTuple):
  """What a network's output (features,) says.

  Attributes:
    energy: output, label -> scalar; of the class, or of the image alone where the label is -1.
    learn: output, label -> what is learned beside the energy: a loss, metrics.
    conditional: whether `energy` looks at the label.
  """

  energy: Callable[[jax.Array, Label | int], jax.Array]
  learn: Callable[[jax.Array, Label], tuple[jax.Array, Metrics]]
  conditional: bool = False


class Buffer(NamedTuple):
  """Where chains rest between updates.

  Attributes:
    size: how many there are.
    restart: share of those drawn that begin anew.
    image_shape: (H, W, C).
  """

  size: int
  restart: float
  image_shape: tuple[int, int, int]

  def start(self, key: Key) -> Image:
    """Where a chain begins: uniform noise in [-1, 1]."""
    return jax.random.uniform(key, self.image_shape, minval=-1.0, maxval=1.0)

  def init(self, key: Key) -> jax.Array:
    """(size, H, W, C), all at their beginning."""
    return jax.vmap(self.start)(jax.random.split(key, self.size))

  def draw(self, chains: jax.Array, key: Key) -> tuple[jax.Array, Image]:
    """A place, and the chain there or one begun anew."""
    place_key, restart_key, start_key = jax.random.split(key, 3)
    place = jax.random.randint(place_key, (), 0, self.size)
    anew = jax.random.bernoulli(restart_key, self.restart)
    return place, jnp.where(anew, self.start(start_key), chains[place])


@dataclass(frozen=True)
class Energy:
  """E, of which exp(-E / T) / Z is the density of images with noise.

  Attributes:
    network: (H, W, C) -> (features,).
    reading: what that says.
    temperature: T.
    noise: deviation of the noise.
    reference: deviation of the Gaussian that multiplies the density; 0 for none.
  """

  network: nn.Module
  reading: Reading
  temperature: float
  noise: float
  reference: float

  def __call__(self, params: Params, x: Image, label: Label | int = NONE) -> jax.Array:
    """E(x), or that of x and its class."""
    curvature = self.temperature / self.reference**2 if self.reference else 0.0
    output = self.network.apply(params, x)
    return self.reading.energy(output, label) + curvature / 2.0 * jnp.sum(x**2)

  def learn(self, params: Params, x: Image, label: Label) -> tuple[jax.Array, Metrics]:
    """What is learned of x beside its energy: a loss, metrics."""
    return self.reading.learn(self.network.apply(params, x), label)

  def noisy(self, image: Image, key: Key) -> Image:
    """x, an image with noise."""
    return image + self.noise * jax.random.normal(key, image.shape)


def init(
  energy: Energy, buffer: Buffer, optimizer: optax.GradientTransformation, key: Key
) -> tuple[Params, Memory]:
  """A network, and chains at their beginning."""
  network_key, buffer_key = jax.random.split(key)
  params = energy.network.init(network_key, jnp.zeros(buffer.image_shape))
  return params, {'optimizer': optimizer.init(params), 'chains': buffer.init(buffer_key)}


def loss(
  energy: Energy, penalty: float, params: Params, example: Example, fake: Image, key: Key
) -> tuple[jax.Array, Metrics]:
  """E(x) - E(x') + penalty (E(x)^2 + E(x')^2), and what else is learned of x."""
  x = energy.noisy(example.image, key)
  real, drawn = energy(params, x), energy(params, fake)
  more, metrics = energy.learn(params, x, example.label)
  metrics |= {'energy_of_images': real, 'energy_of_chains': drawn}
  return real - drawn + penalty * (real**2 + drawn**2) + more, metrics


def update(
  energy: Energy,
  buffer: Buffer,
  training: Langevin,
  penalty: float,
  optimizer: optax.GradientTransformation,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """A chain for each image goes on, and the energy descends between the two."""
  del step

  def walk(key: Key) -> tuple[jax.Array, Image]:
    """The place of a chain, and the chain some steps further."""
    draw_key, walk_key = jax.random.split(jax.random.fold_in(key, 0))
    place, x = buffer.draw(memory['chains'], draw_key)
    return place, chain(partial(energy, params), x, walk_key, training)[-1]

  places, fakes = base.each(walk, keys)
  noises = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
  learn = partial(base.descend, partial(loss, energy, penalty), optimizer)
  params, state, metrics = learn(params, memory['optimizer'], examples, fakes, noises)
  chains = tables.put(memory['chains'], *base.gather((places, fakes)))
  return params, {'optimizer': state, 'chains': chains}, metrics


def evaluate(energy: Energy, buffer: Buffer, params: Params, example: Example, key: Key) -> Metrics:
  """Energies of an image with noise as in training and of uniform noise; no likelihood."""
  noise_key, start_key = jax.random.split(key)
  x = energy.noisy(example.image, noise_key)
  _, metrics = energy.learn(params, x, example.label)
  return metrics | {
    'energy_of_images': energy(params, x),
    'energy_of_uniform_noise': energy(params, buffer.start(start_key)),
  }


def chain_from_noise(
  energy: Energy,
  buffer: Buffer,
  denoise: bool,
  langevin: Langevin,
  frames: int,
  params: Params,
  label: Label,
  key: Key,
) -> jax.Array:
  """A chain from uniform noise at each multiple of the steps, (frames, H, W, C)."""
  start_key, walk_key = jax.random.split(key)
  own = partial(energy, params, label=label)
  found = chain(own, buffer.start(start_key), walk_key, langevin, frames)
  if denoise:
    found = jax.vmap(lambda x: denoised(own, x, energy.noise, energy.temperature))(found)
  return found


def persistent(
  network: nn.Module,
  reading: Reading,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  training: Langevin,
  sampling: Langevin,
  buffer: int = 10_000,
  restart: float = 0.05,
  noise: float = 0.0,
  reference: float = 0.0,
  penalty: float = 0.0,
  denoise: bool = False,
) -> Objective:
  """An energy that descends between images and chains.

  Args:
    network: (H, W, C) -> (features,).
    reading: what that says.
    optimizer: of the network.
    image_shape: (H, W, C).
    training: the steps of a chain, each time that it is drawn from the buffer.
    sampling: those of a sample's, from uniform noise on.
    buffer: chains in it.
    restart: share of the chains drawn that begin anew, from uniform noise.
    noise: deviation of what is added to images in training; the density learned is of noisy ones.
    reference: deviation of a Gaussian that multiplies the density, T |x|^2 / (2 reference^2) in the
      energy (Xie et al. 2016); 0 for none. With it, exp(-E / T) has an integral for every network
      whose output grows at most linearly.
    penalty: of the energies' squares, which keeps them near 0 (Du & Mordatch 2019, sec. 3.3).
    denoise: whether a sample is the mean of the image under its noise, see `denoised`.

  Raises:
    ValueError: a number out of range, or nothing to denoise.
  """
  check(training, 'objective')
  check(sampling, 'sampler')
  check_range(buffer, restart, noise, reference, penalty, denoise)
  energy = Energy(network, reading, training.temperature, noise, reference)
  resting = Buffer(buffer, restart, image_shape)
  from_noise = partial(chain_from_noise, energy, resting, denoise)
  tenth = sampling._replace(steps=max(sampling.steps // FRAMES, 1))

  def sample(params: Params, label: Label, key: Key) -> Image:
    return from_noise(sampling, 1, params, label, key)[-1]

  return Objective(
    partial(init, energy, resting, optimizer),
    partial(update, energy, resting, training, penalty, optimizer),
    partial(evaluate, energy, resting),
    sample,
    # The second goes on for ten times the steps of a sample.
    figures={
      'chains': partial(figure, partial(from_noise, tenth, FRAMES)),
      'long_chains': partial(figure, partial(from_noise, sampling, FRAMES)),
    },
    networks={'energy': network},
    conditional=reading.conditional,
  )


def figure(
  from_noise: Callable[[Params, Label, Key], jax.Array], params: Params, examples: Example, key: Key
) -> jax.Array:
  """Each row: a chain from noise, for the class of an example."""
  keys = jax.random.split(key, len(examples.label))
  return jax.vmap(partial(from_noise, params))(examples.label, keys)


def check_range(
  buffer: int, restart: float, noise: float, reference: float, penalty: float, denoise: bool
) -> None:
  """Raises ValueError where a number of the objective cannot be, or nothing is to be denoised."""
  if buffer < 1 or not 0.0 <= restart <= 1.0:
    raise ValueError(
      f'objective.buffer={buffer} must be at least 1 and objective.restart={restart} lie in [0, 1]'
    )
  if min(noise, reference, penalty) < 0.0:
    raise ValueError(
      f'objective.noise={noise}, objective.reference={reference} and objective.penalty={penalty} '
      'must not be negative'
    )
  if denoise and not noise:
    raise ValueError(
      'sampler.denoise=True has no effect without noise in training: set it to False, or '
      'objective.noise above 0'
    )


def build_persistent(
  config: ml_collections.ConfigDict,
  image_shape: tuple[int, int, int],
  network: nn.Module,
  reading: Reading,
  optimizer: optax.GradientTransformation,
) -> Objective:
  """The model that a config's sections `objective` and `sampler` describe."""
  fields, sampler = base.arguments(config.objective), config.sampler.to_dict()
  training = Langevin(**{name: fields.pop(name) for name in Langevin._fields})
  denoise = sampler.pop('denoise')
  sampling = Langevin(**sampler)
  return persistent(
    network, reading, optimizer, image_shape, training, sampling, **fields, denoise=denoise
  )
