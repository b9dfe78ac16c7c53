"""MeanFlow: the average velocity between two times, which samples in one step (Geng et al. 2025).

Symbols: z_t = (1 - t) x + t eps, v = eps - x its velocity, u_theta(z_t, r, t) the network, whose
u (t - r) is the way that the flow goes from t to r <= t. Noise is at t = 1.
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
from jaxgen.objectives.diffusion.denoiser import applied
from jaxgen.objectives.diffusion.path import TICKS
from jaxgen.objectives.diffusion.trajectory import follow, on_the_way, strata


def average_velocity_target(v: Image, t: jax.Array, r: jax.Array, u_dot: Image) -> Image:
  """v - (t - r) du/dt, which an average velocity equals along the flow (eq. 6)."""
  return v - (t - r) * u_dot


def adaptive_weight(square: jax.Array, power: float, floor: float) -> jax.Array:
  """1 / (|error|^2 + c)^p, without a gradient (sec. 4.3, eq. 22)."""
  return jax.lax.stop_gradient(1.0 / (square + floor) ** power)


def mean_flow(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  t_mean: float = -0.4,
  t_std: float = 1.0,
  apart: float = 0.25,
  power: float = 1.0,
  floor: float = 0.01,
  steps: int = 1,
  times: int = 8,
) -> Objective:
  """A flow learned through its average velocities.

  Args:
    network: u_theta, (z (H, W, C), t, interval t - r, both on the scale of 1000) -> (H, W, C).
    optimizer: of the network.
    image_shape: (H, W, C).
    t_mean: logit(t) and logit(r) ~ N(t_mean, t_std^2), of which t is the larger one.
    t_std: its deviation.
    apart: how often r is not t; where it is, the loss is flow matching's.
    power: p of the adaptive weight, 0 for the squared error itself.
    floor: c of the adaptive weight.
    steps: even ones of sampling, with a network evaluation each.
    times: times at which `evaluate` looks, one from each of so many equal strata.

  Raises:
    ValueError: a number out of range.
  """
  if t_std <= 0.0 or not 0.0 <= apart <= 1.0 or power < 0.0 or floor <= 0.0:
    raise ValueError(
      f'objective.t_std={t_std} and objective.floor={floor} must be positive, '
      f'objective.power={power} not negative and objective.apart={apart} lie in [0, 1]'
    )
  if min(steps, times) < 1:
    raise ValueError(f'sampler.steps={steps} and evaluation.times={times} must be at least 1')

  def init(key: Key) -> tuple[Params, Memory]:
    params = network.init(key, jnp.zeros(image_shape), jnp.float32(0), interval=jnp.float32(0))
    return params, optimizer.init(params)

  def u(params: Params, z: Image, t: jax.Array, r: jax.Array, dropout: Key | None = None) -> Image:
    return applied(network, params, z, TICKS * t, key=dropout, interval=TICKS * (t - r))

  def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
    """Algorithm 1, for one image."""
    times_key, apart_key, noise_key, dropout = jax.random.split(key, 4)
    drawn = jax.nn.sigmoid(t_mean + t_std * jax.random.normal(times_key, (2,)))
    t = drawn.max()
    r = jnp.where(jax.random.bernoulli(apart_key, apart), drawn.min(), t)
    eps = jax.random.normal(noise_key, image_shape)
    z, v = (1.0 - t) * example.image + t * eps, eps - example.image
    tangents = v, jnp.ones_like(t), jnp.zeros_like(r)
    found, u_dot = jax.jvp(lambda z, t, r: u(params, z, t, r, dropout), (z, t, r), tangents)
    target = jax.lax.stop_gradient(average_velocity_target(v, t, r, u_dot))
    square = jnp.sum((found - target) ** 2)
    mean = square / example.image.size
    return adaptive_weight(square, power, floor) * square, {'average_velocity_squared_error': mean}

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    first, second = jax.random.split(key)
    t = strata(first, times) / times
    eps = jax.random.normal(second, (times, *image_shape))

    def error(t: jax.Array, eps: Image) -> jax.Array:
      z = (1.0 - t) * example.image + t * eps
      return jnp.mean((u(params, z, t, t) - (eps - example.image)) ** 2)

    return {'velocity_squared_error': jax.vmap(error)(t, eps).mean()}

  def trajectory(params: Params, label: Label, key: Key, frames: int) -> jax.Array:
    """z_r = z_t - (t - r) u(z_t, r, t), from t = 1 to r = 0 (eq. 12)."""
    del label

    def forth(z: Image, i: jax.Array) -> Image:
      t, r = 1.0 - i / steps, 1.0 - (i + 1) / steps
      return z - (t - r) * u(params, z, t, r)

    return follow(forth, jax.random.normal(key, image_shape), jnp.arange(steps), steps, frames)

  def sample(params: Params, label: Label, key: Key) -> Image:
    return trajectory(params, label, key, 1)[-1]

  return Objective(
    init,
    base.descent(loss, optimizer),
    evaluate,
    sample,
    figures={'flow': on_the_way(trajectory, steps)},
    networks={'denoiser': network},
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  if config.sampler.name != 'mean_flow':
    raise ValueError(f'sampler.name={config.sampler.name!r}; an average velocity takes mean_flow')
  return mean_flow(
    find_network(config.network.name, 'Denoiser')(**base.arguments(config.network), interval=True),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **base.arguments(config.objective),
    **base.arguments(config.sampler),
    times=config.evaluation.times,
  )
