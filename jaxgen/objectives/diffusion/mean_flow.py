"""MeanFlow: the average velocity between two times, which samples in one step (Geng et al. 2025).

Symbols: z_t = (1 - t) x + t eps, v = eps - x its velocity, u_theta(z_t, r, t) the network, whose
u (t - r) is the way that the flow goes from t to r <= t. Noise is at t = 1.

The network is told t and t - r themselves, not a thousand times as much as elsewhere: the target
has du/dt in it, which would be as many times as large (as of consistency models in continuous time,
Lu & Song 2024, sec. 4).
"""

from collections.abc import Callable
from functools import partial

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
from jaxgen.objectives.diffusion.trajectory import follow, on_the_way, sampled, strata


def average_velocity_target(v: Image, t: jax.Array, r: jax.Array, u_dot: Image) -> Image:
  """v - (t - r) du/dt, which an average velocity equals along the flow (eq. 6)."""
  return v - (t - r) * u_dot


def adaptive_weight(square: jax.Array, power: float, floor: float) -> jax.Array:
  """1 / (|error|^2 + c)^p, without a gradient (sec. 4.3, eq. 22)."""
  return jax.lax.stop_gradient(1.0 / (square + floor) ** power)


def two_times(
  first: Key, second: Key, means: tuple[float, float], deviations: tuple[float, float], apart: float
) -> tuple[jax.Array, jax.Array]:
  """t and r <= t; r is t itself where none is drawn, or a later one (the authors' code, v1).

  Args:
    first: of both draws.
    second: of whether r is drawn.
    means: of logit(t) and of logit(r), which are normal.
    deviations: of both.
    apart: how often r is drawn.
  """
  logits = jnp.array(means) + jnp.array(deviations) * jax.random.normal(first, (2,))
  t, r = jax.nn.sigmoid(logits)
  return t, jnp.where(jax.random.bernoulli(second, apart), jnp.minimum(t, r), t)


def average_velocity(
  network: nn.Module,
  params: Params,
  z: Image,
  t: jax.Array,
  r: jax.Array,
  dropout: Key | None = None,
) -> Image:
  """u_theta(z_t, r, t); with a key as in training."""
  return applied(network, params, z, t, key=dropout, interval=t - r)


def algorithm_1(
  network: nn.Module,
  times: Callable[[Key, Key], tuple[jax.Array, jax.Array]],
  weight: Callable[[jax.Array], jax.Array],
  params: Params,
  example: Example,
  key: Key,
) -> tuple[jax.Array, Metrics]:
  """The loss of one image, with t and r drawn by `times` and the squared error weighed."""
  first, second, noise_key, dropout = jax.random.split(key, 4)
  t, r = times(first, second)
  eps = jax.random.normal(noise_key, example.image.shape)
  z, v = (1.0 - t) * example.image + t * eps, eps - example.image
  u = partial(average_velocity, network, params, dropout=dropout)
  found, u_dot = jax.jvp(u, (z, t, r), (v, jnp.ones_like(t), jnp.zeros_like(r)))
  target = jax.lax.stop_gradient(average_velocity_target(v, t, r, u_dot))
  square = jnp.sum((found - target) ** 2)
  mean = square / example.image.size
  return weight(square) * square, {'average_velocity_squared_error': mean}


def algorithm_2(
  network: nn.Module, steps: int, params: Params, eps: Image, frames: int
) -> jax.Array:
  """z_r = z_t - (t - r) u(z_t, r, t), from eps at t = 1 to r = 0 (eq. 12), (frames, H, W, C)."""

  def forth(z: Image, i: jax.Array) -> Image:
    t, r = 1.0 - i / steps, 1.0 - (i + 1) / steps
    return z - (t - r) * average_velocity(network, params, z, t, r)

  return follow(forth, eps, jnp.arange(steps), steps, frames)


def evaluate(network: nn.Module, times: int, params: Params, example: Example, key: Key) -> Metrics:
  """Flow matching's error of a held-out image, where r = t, at so many times."""
  first, second = jax.random.split(key)
  t = strata(first, times) / times
  eps = jax.random.normal(second, (times, *example.image.shape))

  def error(t: jax.Array, eps: Image) -> jax.Array:
    z = (1.0 - t) * example.image + t * eps
    u = average_velocity(network, params, z, t, t)
    return jnp.mean((u - (eps - example.image)) ** 2)

  return {'velocity_squared_error': jax.vmap(error)(t, eps).mean()}


def mean_flow(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  t_mean: float = -0.4,
  t_std: float = 1.0,
  r_mean: float = -0.4,
  r_std: float = 1.0,
  apart: float = 0.5,
  power: float = 1.0,
  floor: float = 0.01,
  steps: int = 1,
  times: int = 8,
) -> Objective:
  """A flow learned through its average velocities.

  Args:
    network: u_theta, (z (H, W, C), t, interval t - r, both in [0, 1]) -> (H, W, C).
    optimizer: of the network.
    image_shape: (H, W, C).
    t_mean: of logit(t), which is normal.
    t_std: its deviation.
    r_mean: of logit(r), which is normal; an r above t is taken to be t.
    r_std: its deviation.
    apart: how often r is drawn; where it is t, the loss is flow matching's.
    power: p of the adaptive weight, 0 for the squared error itself.
    floor: c of the adaptive weight.
    steps: even ones of sampling, with a network evaluation each.
    times: times at which `evaluate` looks, one from each of so many equal strata.

  Raises:
    ValueError: a number out of range.
  """
  check(t_std, r_std, apart, power, floor, steps, times)

  def init(key: Key) -> tuple[Params, Memory]:
    params = network.init(key, jnp.zeros(image_shape), jnp.float32(0), interval=jnp.float32(0))
    return params, optimizer.init(params)

  def trajectory(params: Params, label: Label, key: Key, frames: int) -> jax.Array:
    del label
    return algorithm_2(network, steps, params, jax.random.normal(key, image_shape), frames)

  drawn = partial(two_times, means=(t_mean, r_mean), deviations=(t_std, r_std), apart=apart)
  weight = partial(adaptive_weight, power=power, floor=floor)
  return Objective(
    init,
    base.descent(partial(algorithm_1, network, drawn, weight), optimizer),
    partial(evaluate, network, times),
    sampled(trajectory),
    figures={'flow': on_the_way(trajectory, steps)},
    networks={'denoiser': network},
  )


def check(
  t_std: float, r_std: float, apart: float, power: float, floor: float, steps: int, times: int
) -> None:
  """Raises ValueError for a number out of range."""
  if min(t_std, r_std) <= 0.0 or not 0.0 <= apart <= 1.0 or power < 0.0 or floor <= 0.0:
    raise ValueError(
      f'objective.t_std={t_std}, objective.r_std={r_std} and objective.floor={floor} must be '
      f'positive, objective.power={power} not negative and objective.apart={apart} lie in [0, 1]'
    )
  if min(steps, times) < 1:
    raise ValueError(f'sampler.steps={steps} and evaluation.times={times} must be at least 1')


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes.

  Raises:
    ValueError: another sampler, a network that hardly sees times below 1, or an older run.
  """
  if 'r_mean' not in config.objective:
    raise ValueError(
      'objective.r_mean is missing, as in runs from before networks were told times below 1, which '
      'no longer sample: train anew'
    )
  if config.network.get('clock') == 'fourier':
    raise ValueError(
      "network.clock='fourier' is for times up to 1000, and here they are below 1: choose sines"
    )
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
