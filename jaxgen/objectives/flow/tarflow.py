"""TarFlow: a normalising flow whose steps are causal transformers (Zhai et al. 2024).

Symbols: x the image with its noise, as N patches; a block makes of them
z_t = (x_t - mu_t) exp(-alpha_t), where mu_t and alpha_t are functions of x_1 ... x_{t-1}, and turns
their order; the last block's z is N(0, I). So log p(x) = log N(z; 0, I) - sum alpha. Pixels have
levels, of which noise as wide as their distance makes a density's numbers: log P(image) is at least
the mean of log p(x), and the log of the mean of p(x), with the volume of the noise (Theis et al.
2016, sec. 3.1; Ho et al. 2019, sec. 3.1).
"""

import math
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.scipy.special import logsumexp

from jaxgen.datasets.splits import Facts
from jaxgen.layers.convolution import depth_to_space, space_to_depth
from jaxgen.networks import find_network
from jaxgen.objectives import base, optimizers
from jaxgen.objectives.base import Example, Image, Key, Label, Memory, Metrics, Objective, Params
from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.levels import Levels, find_levels


def forward(network: nn.Module, params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Through all blocks: patches (N, D) -> z, log |det dz/dx|."""

  def block(x: jax.Array, weights: Params) -> tuple[jax.Array, jax.Array]:
    mu, alpha = jnp.split(network.apply(weights, x), 2, axis=-1)
    return ((x - mu) * jnp.exp(-alpha))[::-1], -alpha.sum()

  z, log_determinants = jax.lax.scan(block, x, params)
  return z, log_determinants.sum()


def inverse(network: nn.Module, params: Params, z: jax.Array) -> jax.Array:
  """Back through all blocks, patch after patch: (N, D) -> (N, D)."""

  def block(z: jax.Array, weights: Params) -> tuple[jax.Array, None]:
    z = z[::-1]

    def patch(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
      mu, alpha = jnp.split(network.apply(weights, x)[t], 2)
      return x.at[t].set(mu + z[t] * jnp.exp(alpha)), None

    x, _ = jax.lax.scan(patch, jnp.zeros_like(z), jnp.arange(len(z)))
    return x, None

  return jax.lax.scan(block, z, params, reverse=True)[0]


@dataclass(frozen=True)
class Flow:
  """A flow of images, as patches.

  Attributes:
    network: of a block, patches (N, D) -> mu and alpha of each (N, 2 D), from those before it.
    image_shape: (H, W, C).
    levels: that pixels have.
    patch: side of the squares of pixels that are moved together.
  """

  network: nn.Module
  image_shape: tuple[int, int, int]
  levels: Levels
  patch: int

  def patches(self, image: Image) -> jax.Array:
    """(H, W, C) -> (N, D)."""
    x = space_to_depth(image, self.patch)
    return x.reshape(-1, x.shape[-1])

  def pixels(self, x: jax.Array) -> Image:
    """(N, D) -> (H, W, C)."""
    rows, columns = (side // self.patch for side in self.image_shape[:2])
    return depth_to_space(x.reshape(rows, columns, -1), self.patch)


def init(
  flow: Flow, blocks: int, optimizer: optax.GradientTransformation, key: Key
) -> tuple[Params, Memory]:
  """So many blocks, along the leading axis."""
  x = flow.patches(jnp.zeros(flow.image_shape))
  params = jax.vmap(lambda key: flow.network.init(key, x))(jax.random.split(key, blocks))
  return params, optimizer.init(params)


def log_density(flow: Flow, params: Params, image: Image) -> jax.Array:
  """log p of an image with its noise, in nats."""
  z, log_determinant = forward(flow.network, params, flow.patches(image))
  return log_normal(z, jnp.zeros_like(z), jnp.zeros_like(z)) + log_determinant


def log_mass(flow: Flow, params: Params, image: Image, key: Key) -> jax.Array:
  """log p with one draw of the noise, and of how much room it has, in nats."""
  levels, step = flow.levels, 2.0 / (flow.levels.count - 1)
  noise = jax.random.uniform(key, image.shape, minval=-0.5, maxval=0.5)
  x = levels.grey(levels.index(image)) + step * noise
  return log_density(flow, params, x) + image.size * math.log(step)


def loss(flow: Flow, params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
  """-log p in nats a number of the image, with one draw of the noise."""
  nats, dimension = log_mass(flow, params, example.image, key), example.image.size
  return -nats / dimension, flow.levels.held_out(nats, dimension, 'dequantised_')


def evaluate(flow: Flow, draws: int, params: Params, example: Example, key: Key) -> Metrics:
  """The mean of log p over draws of the noise, and the log of the mean of p."""
  keys = jax.random.split(key, draws)
  found = jax.lax.map(partial(log_mass, flow, params, example.image), keys)
  tighter = logsumexp(found) - math.log(draws)
  held_out, dimension = flow.levels.held_out, example.image.size
  return held_out(found.mean(), dimension, 'dequantised_') | held_out(
    tighter, dimension, f'importance_weighted_{draws}_'
  )


def encode(flow: Flow, params: Params, image: Image, key: Key) -> jax.Array:
  """z of the image without noise, (N, D)."""
  del key
  return forward(flow.network, params, flow.patches(image))[0]


def decode(flow: Flow, params: Params, z: jax.Array, key: Key) -> Image:
  """What z is the code of, between the levels too."""
  del key
  return flow.pixels(inverse(flow.network, params, z))


def sample(flow: Flow, params: Params, label: Label, key: Key) -> Image:
  """The levels that an image with noise is nearest to."""
  del label
  z = jax.random.normal(key, flow.patches(jnp.zeros(flow.image_shape)).shape)
  index = flow.levels.index(decode(flow, params, z, key))
  return flow.levels.grey(jnp.clip(index, 0, flow.levels.count - 1))


def tarflow(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  levels: Levels,
  blocks: int = 4,
  patch: int = 4,
  draws: int = 4,
) -> Objective:
  """A flow of patches.

  Args:
    network: of a block, patches (N, D) -> mu and alpha of each (N, 2 D), from those before it.
    optimizer: of all blocks.
    image_shape: (H, W, C).
    levels: that pixels have.
    blocks: how many steps the flow has.
    patch: side of the squares of pixels that are moved together.
    draws: of the noise, in `evaluate`.

  Raises:
    ValueError: no blocks or draws, or patches that do not tile the image.
  """
  height, width, _ = image_shape
  if blocks < 1 or draws < 1:
    raise ValueError(f'objective.blocks={blocks} and evaluation.draws={draws} must be at least 1')
  if patch < 1 or height % patch or width % patch:
    raise ValueError(
      f'objective.patch={patch} does not tile a {height}x{width} image: choose one that divides '
      'both, or resize the images'
    )
  flow = Flow(network, image_shape, levels, patch)
  return Objective(
    partial(init, flow, blocks, optimizer),
    base.descent(partial(loss, flow), optimizer),
    partial(evaluate, flow, draws),
    partial(sample, flow),
    partial(encode, flow),
    partial(decode, flow),
    networks={'network': network},
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The flow that a config describes.

  Raises:
    ValueError: levels that do not fit the data.
  """
  hyperparameters = base.arguments(config.objective)
  levels = find_levels(hyperparameters.pop('levels'), config.data.binarize)
  features = 2 * hyperparameters['patch'] ** 2 * facts.image_shape[-1]
  return tarflow(
    find_network(config.network.name, 'Conditioner')(features, **base.arguments(config.network)),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    levels,
    **hyperparameters,
    draws=config.evaluation.draws,
  )
