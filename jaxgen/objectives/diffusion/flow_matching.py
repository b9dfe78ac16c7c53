"""Flow matching on straight paths (Lipman et al. 2023; rectified flow of Liu et al. 2023).

Symbols: x_0 ~ N(0, I), x_1 image, x_t = (1 - t) x_0 + t x_1 for t in [0, 1], v_theta(x_t, t) the
network. Sampling follows dx/dt = v_theta(x, t) from noise at t = 0 to an image at t = 1.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, optimizers
from jaxgen.objectives.base import Example, Image, Key, Label, Memory, Metrics, Objective, Params
from jaxgen.objectives.diffusion.trajectory import follow, on_the_way, strata

TIME_SCALE = 1000.0  # networks expect times of the order of a diffusion's steps


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

  def init(key: Key) -> tuple[Params, Memory]:
    params = network.init(key, jnp.zeros(image_shape), jnp.float32(0))
    return params, optimizer.init(params)

  def v(params: Params, x: Image, t: jax.Array) -> Image:
    return network.apply(params, x, TIME_SCALE * t)

  def regression(params: Params, x_1: Image, t: jax.Array, key: Key) -> jax.Array:
    """Squared error of the velocity at one time, a mean over pixels (eq. 23)."""
    x_0 = jax.random.normal(key, image_shape)
    return jnp.mean((v(params, interpolate(x_0, x_1, t), t) - velocity(x_0, x_1)) ** 2)

  def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
    time_key, noise_key = jax.random.split(key)
    return regression(params, example.image, jax.random.uniform(time_key), noise_key), {}

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    keys = jax.random.split(key, times + 1)
    t = strata(keys[0], times) / times
    errors = jax.vmap(regression, in_axes=(None, None, 0, 0))(params, example.image, t, keys[1:])
    return {'velocity_squared_error': errors.mean()}

  def trajectory(params: Params, key: Key, frames: int) -> jax.Array:
    """Heun's method."""
    h = 1.0 / steps

    def forth(x: Image, i: jax.Array) -> Image:
      slope = v(params, x, i * h)
      return x + 0.5 * h * (slope + v(params, x + h * slope, (i + 1) * h))

    return follow(forth, jax.random.normal(key, image_shape), jnp.arange(steps), steps, frames)

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return trajectory(params, key, 1)[-1]

  return Objective(
    init,
    base.descent(loss, optimizer),
    evaluate,
    sample,
    figures={'flow': on_the_way(trajectory, steps)},
    networks={'denoiser': network},
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The flow that a config describes."""
  return flow_matching(
    find_network(config.network.name, 'Denoiser')(**base.arguments(config.network)),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **base.arguments(config.objective),
    sampler=config.sampler.name,
    **base.arguments(config.sampler),
    times=config.evaluation.times,
  )
