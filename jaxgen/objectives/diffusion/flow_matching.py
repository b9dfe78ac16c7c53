"""Flow matching on straight paths (Lipman et al. 2023; rectified flow of Liu et al. 2023).

Symbols: x_0 ~ N(0, I), x_1 image, x_t = (1 - t) x_0 + t x_1 for t in [0, 1], v_theta(x_t, t) the
network. Sampling follows dx/dt = v_theta(x, t) from noise at t = 0 to an image at t = 1.
"""

from functools import partial

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
  Metrics,
  Objective,
  OptState,
  Params,
  arguments,
  descend,
)

TIME_SCALE = 1000.0  # networks expect times of the order of a diffusion's steps
FRAMES = 10  # pictures of a trajectory


def interpolate(x_0: jax.Array, x_1: jax.Array, t: jax.Array) -> jax.Array:
  """x_t on the straight line from noise to image (Lipman et al. 2023, eq. 22, sigma_min = 0)."""
  return (1.0 - t) * x_0 + t * x_1


def velocity(x_0: jax.Array, x_1: jax.Array) -> jax.Array:
  """d x_t / d t along that line; the regression's target (eq. 23)."""
  return x_1 - x_0


def flow_matching(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  sampler: str = 'heun',
  steps: int = 50,
  times: int = 8,
) -> Objective:
  """A continuous flow learned by regression on velocities.

  Args:
    network: (x_t (H, W, C), t scaled to 0 ... 1000) -> (H, W, C).
    optimizer: of the network.
    image_shape: (H, W, C).
    sampler: 'heun', the only one so far.
    steps: of Heun's method, two network evaluations each.
    times: times at which `evaluate` looks, one from each of so many equal strata.

  Raises:
    ValueError: an unknown sampler, no steps of it, or no times.
  """
  if sampler != 'heun':
    raise ValueError(f'sampler.name={sampler!r}; choose heun')
  if min(steps, times) < 1:
    raise ValueError(f'sampler.steps={steps} and evaluation.times={times} must be at least 1')

  def init(key: Key) -> tuple[Params, OptState]:
    params = network.init(key, jnp.zeros(image_shape), jnp.float32(0))
    return params, optimizer.init(params)

  def v(params: Params, x: Image, t: jax.Array) -> Image:
    return network.apply(params, x, TIME_SCALE * t)

  def regression(params: Params, x_1: Image, t: jax.Array, key: Key) -> jax.Array:
    """Squared error of the velocity at one time, a mean over pixels (eq. 23)."""
    x_0 = jax.random.normal(key, image_shape)
    return jnp.mean((v(params, interpolate(x_0, x_1, t), t) - velocity(x_0, x_1)) ** 2)

  def loss(params: Params, x_1: Image, key: Key) -> tuple[jax.Array, Metrics]:
    time_key, noise_key = jax.random.split(key)
    return regression(params, x_1, jax.random.uniform(time_key), noise_key), {}

  def evaluate(params: Params, x_1: Image, key: Key) -> Metrics:
    keys = jax.random.split(key, times + 1)
    strata = jnp.arange(times) + jax.random.uniform(keys[0], (times,))
    errors = jax.vmap(regression, in_axes=(None, None, 0, 0))(params, x_1, strata / times, keys[1:])
    return {'velocity_squared_error': errors.mean()}

  def trajectory(params: Params, key: Key, frames: int) -> jax.Array:
    """Heun's method as (frames, H, W, C): x at evenly spaced moments, the sample last."""
    h = 1.0 / steps

    def forth(carry: tuple[Image, jax.Array], i: jax.Array) -> tuple:
      x, shown = carry
      slope = v(params, x, i * h)
      x = x + 0.5 * h * (slope + v(params, x + h * slope, (i + 1) * h))
      return (x, shown.at[i * frames // steps].set(x)), None

    start = (jax.random.normal(key, image_shape), jnp.zeros((frames, *image_shape)))
    (_, shown), _ = jax.lax.scan(forth, start, jnp.arange(steps))
    return shown

  def sample(params: Params, key: Key) -> Image:
    return trajectory(params, key, 1)[-1]

  def flow(params: Params, images: Images, key: Key) -> jax.Array:
    """Each row: one sample on its way from noise."""
    keys = jax.random.split(key, len(images))
    return jax.vmap(trajectory, in_axes=(None, 0, None))(params, keys, min(FRAMES, steps))

  return Objective(init, partial(descend, loss, optimizer), evaluate, sample, {'flow': flow})


def build(config: ml_collections.ConfigDict, image_shape: tuple[int, int, int]) -> Objective:
  """The flow that a config describes."""
  return flow_matching(
    find_network(config.network.name, 'Denoiser')(**arguments(config.network)),
    optimizers.build(**config.optimizer, num_steps=config.num_steps),
    image_shape,
    **arguments(config.objective),
    sampler=config.sampler.name,
    **arguments(config.sampler),
    times=config.evaluation.times,
  )
