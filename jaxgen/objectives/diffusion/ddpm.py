"""Denoising diffusion probabilistic model (Ho et al. 2020; strided and DDIM sampling).

Symbols as in `jaxgen.diffusion`; eps_theta(x_t, t) is the network, which predicts the noise.
The variational bound is L_T + sum_{t>1} L_{t-1} + L_0 (eq. 5), here in bits per dimension.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.networks import find_network
from jaxgen.objectives import distributions, optimizers
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
from jaxgen.objectives.diffusion import process

FRAMES = 10  # pictures of a denoising trajectory


def ddpm(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  timesteps: int = 1000,
  schedule: str = 'linear',
  weighting: str = 'simple',
  variance: str = 'small',
  sampler: str = 'ancestral',
  steps: int = 1000,
  eta: float = 0.0,
  clip: bool = True,
  bound_samples: int = 8,
) -> Objective:
  """A diffusion model that predicts the noise.

  Args:
    network: (x_t (H, W, C), t) -> (H, W, C).
    optimizer: of the network.
    image_shape: (H, W, C).
    timesteps: T.
    schedule: 'linear' or 'cosine'.
    weighting: 'simple' is L_simple (eq. 14), 'variational' the bound itself (eq. 5).
    variance: of the reverse process: 'small' is the posterior's, 'large' is beta_t (sec. 3.2).
    sampler: 'ancestral' (alg. 2) or 'ddim' (Song et al. 2021).
    steps: how many of the T steps sampling visits.
    eta: of DDIM: 0 is deterministic, 1 is ancestral in law.
    clip: whether the predicted x_0 is clipped to [-1, 1] in sampling and in the reported bound;
      never in training, where a clipped pixel would have no gradient.
    bound_samples: times t > 1 at which `evaluate` looks, one from each of so many equal strata.

  Raises:
    ValueError: an unknown name, or a number out of range or without effect.
  """
  for name, chosen, known in (
    ('weighting', weighting, ('simple', 'variational')),
    ('variance', variance, ('small', 'large')),
  ):
    if chosen not in known:
      raise ValueError(f'objective.{name}={chosen!r}; choose {" or ".join(known)}')
  if sampler not in ('ancestral', 'ddim'):
    raise ValueError(f'sampler.name={sampler!r}; choose ancestral or ddim')
  if eta and sampler != 'ddim':
    raise ValueError(f'sampler.eta={eta} has no effect on {sampler}: use sampler.name=ddim')
  if not 1 <= bound_samples < timesteps:
    raise ValueError(
      f'evaluation.bound_samples={bound_samples} must lie between 1 and timesteps - 1 = '
      f'{timesteps - 1}'
    )
  abar = process.alpha_bars(schedule, timesteps)
  times = process.sampling_times(timesteps, steps)
  if sampler == 'ancestral':
    reverse = process.reverse_steps(abar, times, 1.0, variance)
  else:
    reverse = process.reverse_steps(abar, times, eta)
  kernel = process.kernel(abar, variance)
  dimension = math.prod(image_shape)

  def init(key: Key) -> tuple[Params, OptState]:
    params = network.init(key, jnp.zeros(image_shape), jnp.int32(1))
    return params, optimizer.init(params)

  def denoise(params: Params, x_t: Image, t: jax.Array, clip: bool = clip) -> Image:
    """The x_0 that the network sees in x_t."""
    x_0 = process.predict_x_0(x_t, network.apply(params, x_t, t), kernel.a[t], kernel.s[t])
    return jnp.clip(x_0, -1.0, 1.0) if clip else x_0

  def bound_term(
    params: Params, x_0: Image, t: jax.Array, key: Key, clip: bool = clip
  ) -> jax.Array:
    """L_{t-1} for t > 1, L_0 for t = 1 (eq. 5), in bits per dimension."""
    x_t = process.diffuse(x_0, jax.random.normal(key, image_shape), kernel.a[t], kernel.s[t])
    x_0_hat = denoise(params, x_t, t, clip)
    kl = distributions.normal_kl(
      kernel.from_x_0[t] * (x_0 - x_0_hat), kernel.variance_q[t], kernel.variance_p[t]
    )
    surprise = -distributions.discretized_log_likelihood(
      x_0, x_0_hat, jnp.sqrt(kernel.variance_p[1])
    )
    return jnp.where(t > 1, kl, surprise) / (dimension * jnp.log(2.0))

  def noise_error(params: Params, x_0: Image, t: jax.Array, key: Key) -> jax.Array:
    """Squared error of the predicted noise, a mean over pixels: the integrand of L_simple."""
    noise = jax.random.normal(key, image_shape)
    x_t = process.diffuse(x_0, noise, kernel.a[t], kernel.s[t])
    return jnp.mean((noise - network.apply(params, x_t, t)) ** 2)

  def loss(params: Params, x_0: Image, key: Key) -> tuple[jax.Array, Metrics]:
    """Algorithm 1, for one image."""
    time_key, noise_key = jax.random.split(key)
    t = jax.random.randint(time_key, (), 1, timesteps + 1)
    if weighting == 'variational':
      return timesteps * bound_term(params, x_0, t, noise_key, clip=False), {}
    return noise_error(params, x_0, t, noise_key), {}

  def evaluate(params: Params, x_0: Image, key: Key) -> Metrics:
    keys = jax.random.split(key, bound_samples + 4)
    strata = jnp.arange(bound_samples) + jax.random.uniform(keys[0], (bound_samples,))
    t = 2 + jnp.floor(strata * ((timesteps - 1) / bound_samples)).astype(jnp.int32)
    t = jnp.minimum(t, timesteps)  # strata may have been rounded up to bound_samples
    terms = jax.vmap(bound_term, in_axes=(None, None, 0, 0))(params, x_0, t, keys[4:])
    last = distributions.normal_kl(kernel.a[-1] * x_0, kernel.s[-1] ** 2, 1.0)
    last = last / (dimension * jnp.log(2.0))
    first = bound_term(params, x_0, jnp.int32(1), keys[1])
    middle = (timesteps - 1) * terms.mean()
    return {
      'bits_per_dimension': last + middle + first,
      'l_T_bits_per_dimension': last,
      'l_t-1_bits_per_dimension': middle,
      'l_0_bits_per_dimension': first,
      'noise_squared_error': noise_error(
        params, x_0, jax.random.randint(keys[2], (), 1, timesteps + 1), keys[3]
      ),
    }

  def trajectory(params: Params, key: Key, frames: int) -> jax.Array:
    """Algorithm 2 as (frames, H, W, C): x at evenly spaced moments, the sample last."""

    def back(carry: tuple[Image, jax.Array], step: tuple[jax.Array, process.Reverse]) -> tuple:
      x, shown = carry
      i, (t, from_x_0, from_x_t, deviation) = step
      noise = jax.random.normal(jax.random.fold_in(key, t), image_shape)
      x = from_x_0 * denoise(params, x, t) + from_x_t * x + deviation * noise
      return (x, shown.at[i * frames // steps].set(x)), None

    x_T = jax.random.normal(jax.random.fold_in(key, 0), image_shape)
    table = jax.tree.map(
      lambda c: jnp.asarray(c, jnp.int32 if c is reverse.t else jnp.float32), reverse
    )
    start = (x_T, jnp.zeros((frames, *image_shape)))
    (_, shown), _ = jax.lax.scan(back, start, (jnp.arange(steps), table))
    return shown

  def sample(params: Params, key: Key) -> Image:
    return trajectory(params, key, 1)[-1]

  def denoising(params: Params, images: Images, key: Key) -> jax.Array:
    """Each row: one sample coming out of the noise."""
    keys = jax.random.split(key, len(images))
    return jax.vmap(trajectory, in_axes=(None, 0, None))(params, keys, min(FRAMES, steps))

  return Objective(
    init, partial(descend, loss, optimizer), evaluate, sample, {'denoising': denoising}
  )


def build(config: ml_collections.ConfigDict, image_shape: tuple[int, int, int]) -> Objective:
  """The diffusion model that a config describes."""
  return ddpm(
    find_network(config.network.name, 'Denoiser')(**arguments(config.network)),
    optimizers.build(**config.optimizer, num_steps=config.num_steps),
    image_shape,
    **arguments(config.objective),
    sampler=config.sampler.name,
    **arguments(config.sampler),
    bound_samples=config.evaluation.bound_samples,
  )
