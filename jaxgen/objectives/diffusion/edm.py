"""Elucidated diffusion model (Karras et al. 2022): a denoiser of unit variance at any noise.

Symbols: x = x_0 + sigma eps, sigma_data the deviation of the data's pixels and mean their mean,
F_theta the network, D_theta(x, sigma) = mean + c_skip (x - mean) + c_out F_theta(c_in (x - mean),
c_noise) the denoiser (eq. 7; the mean, here removed, is 0 in the paper).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, optimizers
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
from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion import prediction, quantiles, samplers
from jaxgen.objectives.diffusion.samplers import Descent
from jaxgen.objectives.diffusion.trajectory import on_the_way, strata

TIME_SCALE = 1000.0  # networks expect times of the order of a diffusion's steps


def c_in(sigma: jax.Array, sigma_data: float) -> jax.Array:
  """Scales the network's input to unit variance (tab. 1)."""
  return jax.lax.rsqrt(sigma**2 + sigma_data**2)


def c_noise(sigma: jax.Array) -> jax.Array:
  """ln(sigma) / 4, what the network is told of the noise (tab. 1)."""
  return jnp.log(sigma) / 4.0


def noise_level(quantile: jax.Array, P_mean: float, P_std: float) -> jax.Array:
  """sigma below which this part of the law ln sigma ~ N(P_mean, P_std^2) lies (tab. 1)."""
  return jnp.exp(P_mean + P_std * jax.scipy.special.ndtri(quantile))


def edm(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  descent: Descent,
  sigma_data: float = 0.5,
  mean: float = 0.0,
  P_mean: float = -1.2,
  P_std: float = 1.2,
  stratified: bool = True,
  clip: bool = False,
  times: int = 8,
) -> Objective:
  """A denoiser whose network has inputs and targets of unit variance at any noise.

  Args:
    network: F_theta, (x (H, W, C), t scaled to the order of 1000) -> (H, W, C).
    optimizer: of the network.
    image_shape: (H, W, C).
    descent: the sampler on its grid.
    sigma_data: deviation of the pixels around their mean.
    mean: of the pixels.
    P_mean: of ln sigma in training.
    P_std: its deviation.
    stratified: whether the noise levels of a batch are spread evenly over their law.
    clip: whether the predicted x_0 is clipped to [-1, 1] in sampling.
    times: noise levels at which `evaluate` looks, one from each of so many equal strata.

  Raises:
    ValueError: a deviation that is not positive, or no times.
  """
  if min(sigma_data, P_std) <= 0.0:
    raise ValueError(
      f'objective.sigma_data={sigma_data} and objective.P_std={P_std} must be positive'
    )
  if times < 1:
    raise ValueError(f'evaluation.times={times} must be at least 1')
  predicted = prediction.preconditioned(paths.edm(), sigma_data, mean)

  def init(key: Key) -> tuple[Params, Memory]:
    params = network.init(key, jnp.zeros(image_shape), jnp.float32(0))
    return params, optimizer.init(params)

  def F(params: Params, x: Image, sigma: jax.Array) -> Image:  # noqa: N802
    return network.apply(params, c_in(sigma, sigma_data) * (x - mean), TIME_SCALE * c_noise(sigma))

  def denoise(params: Params, x: Image, sigma: jax.Array) -> Image:
    """D_theta."""
    x_0 = predicted.x_0(F(params, x, sigma), x, sigma)
    return jnp.clip(x_0, -1.0, 1.0) if clip else x_0

  def error(params: Params, x_0: Image, quantile: jax.Array, key: Key) -> jax.Array:
    """|D - x_0|^2 / c_out^2 = |F - its target|^2, a mean over pixels (eq. 8)."""
    sigma = noise_level(quantile, P_mean, P_std)
    eps = jax.random.normal(key, image_shape)
    output = F(params, x_0 + sigma * eps, sigma)
    return jnp.mean((output - predicted.target(x_0, eps, sigma)) ** 2)

  def loss(
    params: Params, example: Example, key: Key, quantile: jax.Array
  ) -> tuple[jax.Array, Metrics]:
    return error(params, example.image, quantile, jax.random.fold_in(key, 1)), {}

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    del step
    places = quantiles.drawn(keys, stratified)
    return base.descend(loss, optimizer, params, memory, examples, keys, places)

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    keys = jax.random.split(key, times + 1)
    places = jnp.clip(strata(keys[0], times) / times, quantiles.EDGE, 1.0 - quantiles.EDGE)
    errors = jax.vmap(error, in_axes=(None, None, 0, 0))(params, example.image, places, keys[1:])
    return {'weighted_squared_error': errors.mean()}

  def trajectory(params: Params, key: Key, frames: int) -> jax.Array:
    first, way = jax.random.split(key)
    start = mean + descent.start * jax.random.normal(first, image_shape)
    return descent.run(lambda x, sigma: denoise(params, x, sigma), start, way, frames)

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return trajectory(params, key, 1)[-1]

  return Objective(
    init,
    update,
    evaluate,
    sample,
    figures={'denoising': on_the_way(trajectory, descent.steps)},
    networks={'denoiser': network},
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  fields = config.sampler.to_dict()
  clip = fields.pop('clip')
  return edm(
    find_network(config.network.name, 'Denoiser')(**base.arguments(config.network)),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    samplers.find(paths.edm(), **fields),
    **base.arguments(config.objective),
    clip=clip,
    times=config.evaluation.times,
  )
