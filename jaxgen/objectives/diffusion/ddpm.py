"""Denoising diffusion probabilistic model (Ho et al. 2020), sampled in any way.

Symbols as in `process`; eps_theta(x_t, t) is the network, which predicts the noise.
Ancestral and DDIM sampling go by the diffusion's own steps, or some of them; other samplers
between them too, on the path that `path.discrete` makes of the table. With a learned variance
the network predicts v as well, in as many channels again (Nichol & Dhariwal 2021, sec. 3.1).
The variational bound is L_T + sum_{t>1} L_{t-1} + L_0 (eq. 5), here in bits per dimension.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, distributions, optimizers
from jaxgen.objectives.base import Example, Image, Key, Label, Memory, Metrics, Objective, Params
from jaxgen.objectives.diffusion import editing, process, samplers
from jaxgen.objectives.diffusion.denoiser import applied
from jaxgen.objectives.diffusion.path import discrete
from jaxgen.objectives.diffusion.samplers import Descent, ancestral, ddim
from jaxgen.objectives.diffusion.samplers.base import Denoise
from jaxgen.objectives.diffusion.trajectory import follow, on_the_way, strata

OWN = 'ancestral', 'ddim'  # samplers by the diffusion's own steps
HYBRID = 0.001  # lambda, of the bound beside L_simple (Nichol & Dhariwal 2021, eq. 16)


def bound_term(
  kernel: process.Kernel, x_0: Image, x_0_hat: Image, t: jax.Array, variance_p: jax.Array
) -> jax.Array:
  """L_{t-1} for t > 1, L_0 for t = 1 (eq. 5), of a predicted x_0, in bits per dimension.

  The model's variance is one number, or one a pixel.
  """
  kl = distributions.normal_kl(
    kernel.from_x_0[t] * (x_0 - x_0_hat), kernel.variance_q[t], variance_p
  )
  surprise = -distributions.discretized_log_likelihood(x_0, x_0_hat, jnp.sqrt(variance_p))
  return jnp.where(t > 1, kl, surprise) / (x_0.size * jnp.log(2.0))


def prior_term(kernel: process.Kernel, x_0: Image) -> jax.Array:
  """L_T (eq. 5), in bits per dimension."""
  nats = distributions.normal_kl(kernel.a[-1] * x_0, kernel.s[-1] ** 2, 1.0)
  return nats / (x_0.size * jnp.log(2.0))


def reverse_steps(
  alpha_bar: np.ndarray,
  variance: str,
  sampler: str,
  steps: int,
  eta: float,
  fields: Mapping[str, float | str],
) -> tuple[process.Reverse, jax.Array]:
  """What one of OWN does at each of its steps, as arrays of the device.

  Returns:
    The coefficients, and log(large / small) of the variance, 0 for the last step, which adds none.

  Raises:
    ValueError: a number out of range or without effect; `fields` are of other samplers.
  """
  if eta and sampler != 'ddim':
    raise ValueError(f'sampler.eta={eta} has no effect on {sampler}: use sampler.name=ddim')
  for name, value in fields.items():
    if value:
      raise ValueError(
        f'sampler.{name}={value!r} has no effect on {sampler}, which goes by the steps of the '
        f'diffusion: choose another sampler.name, or set it to {type(value)()!r}'
      )
  times = process.sampling_times(len(alpha_bar) - 1, steps)
  if sampler == 'ancestral':
    found = process.reverse_steps(alpha_bar, times, 1.0, variance)
  else:
    found = process.reverse_steps(alpha_bar, times, eta)
  log_range = np.append(process.log_range(alpha_bar[times[2:]], alpha_bar[times[1:-1]])[::-1], 0.0)
  t, *coefficients = found
  on_device = process.Reverse(
    jnp.asarray(t, jnp.int32), *(jnp.asarray(c, jnp.float32) for c in coefficients)
  )
  return on_device, jnp.asarray(log_range, jnp.float32)


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
  **fields: float | str,
) -> Objective:
  """A diffusion model that predicts the noise.

  Args:
    network: (x_t (H, W, C), t) -> (H, W, C), or (H, W, 2 C) where the variance is learned.
    optimizer: of the network.
    image_shape: (H, W, C).
    timesteps: T.
    schedule: 'linear' or 'cosine'.
    weighting: 'simple' is L_simple (eq. 14), 'variational' the bound itself (eq. 5).
    variance: of the reverse process: 'small' is the posterior's, 'large' is beta_t (sec. 3.2),
      'learned' is between them, trained by 0.001 L_vlb in bits per dimension beside L_simple,
      from which the mean gets no gradient (Nichol & Dhariwal 2021, eq. 16).
    sampler: 'ancestral' (alg. 2), 'ddim' (Song et al. 2021), or any of `samplers`.
    steps: how many of the T steps sampling visits; of another sampler, its own.
    eta: of DDIM: 0 is deterministic, 1 is ancestral in law.
    clip: whether the predicted x_0 is clipped to [-1, 1] in sampling and in the reported bound;
      never in training, where a clipped pixel would have no gradient.
    bound_samples: times t > 1 at which `evaluate` looks, one from each of so many equal strata.
    **fields: of another sampler and its grid, see `samplers.find`.

  Raises:
    UserError: there is no such sampler.
    ValueError: another unknown name, or a number out of range or without effect.
  """
  for name, chosen, known in (
    ('weighting', weighting, ('simple', 'variational')),
    ('variance', variance, ('small', 'large', 'learned')),
  ):
    if chosen not in known:
      raise ValueError(f'objective.{name}={chosen!r}; choose {" or ".join(known)}')
  if not 1 <= bound_samples < timesteps:
    raise ValueError(
      f'evaluation.bound_samples={bound_samples} must lie between 1 and timesteps - 1 = '
      f'{timesteps - 1}'
    )
  abar = process.alpha_bars(schedule, timesteps)
  path = discrete(abar)
  if sampler in OWN:
    reverse = reverse_steps(abar, variance, sampler, steps, eta, fields)
    # Images are edited by the same steps, of the posterior's variance or less.
    kept = ancestral.sampler() if sampler == 'ancestral' else ddim.sampler(min(eta, 1.0))
    times = process.sampling_times(timesteps, steps)[:0:-1].astype(float)
    descent = Descent(kept, path, times)
  else:
    descent = samplers.find(path, sampler, steps, eta=eta, **fields)
  kernel, learned = process.kernel(abar, variance), variance == 'learned'

  def init(key: Key) -> tuple[Params, Memory]:
    params = network.init(key, jnp.zeros(image_shape), jnp.int32(1))
    return params, optimizer.init(params)

  def predict(
    params: Params, x_t: Image, t: jax.Array, dropout: Key | None = None
  ) -> tuple[Image, Image]:
    """eps_theta, and v in [-1, 1] or so, which has no channels unless it is learned."""
    output, colours = applied(network, params, x_t, t, key=dropout), image_shape[-1]
    if output.shape[-1] != (channels := colours * (2 if learned else 1)):
      raise ValueError(
        f'objective.variance={variance!r} needs a network of {channels} output channels, where '
        f'this one has {output.shape[-1]}'
      )
    return output[..., :colours], output[..., colours:]

  def image(x_t: Image, noise: Image, a: jax.Array, s: jax.Array, clip: bool = clip) -> Image:
    """The x_0 in x_t from which the noise is predicted."""
    x_0 = process.predict_x_0(x_t, noise, a, s)
    return jnp.clip(x_0, -1.0, 1.0) if clip else x_0

  def losses(
    params: Params,
    x_0: Image,
    t: jax.Array,
    key: Key,
    clip: bool = clip,
    mean_too: bool = True,
    dropout: Key | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """For one draw of x_t, the integrands of L_simple and of the bound.

    The first is the squared error of the predicted noise, a mean over pixels; the second the
    bound's term at t, which may leave the mean, and so eps_theta, without a gradient.
    """
    noise = jax.random.normal(key, image_shape)
    x_t = process.diffuse(x_0, noise, kernel.a[t], kernel.s[t])
    predicted, v = predict(params, x_t, t, dropout)
    error = jnp.mean((noise - predicted) ** 2)
    x_0_hat = image(x_t, predicted, kernel.a[t], kernel.s[t], clip)
    x_0_hat = x_0_hat if mean_too else jax.lax.stop_gradient(x_0_hat)
    variance_p = kernel.variance_p[t]
    if learned:
      variance_p = process.learned_variance(v, variance_p, kernel.log_range[t])
    return error, bound_term(kernel, x_0, x_0_hat, t, variance_p)

  def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
    """Algorithm 1, for one image; with a learned variance, L_hybrid."""
    x_0 = example.image
    time_key, noise_key, dropout = jax.random.split(key, 3)
    t = jax.random.randint(time_key, (), 1, timesteps + 1)
    variational = weighting == 'variational'
    error, term = losses(params, x_0, t, noise_key, False, variational, dropout)
    if variational:
      return timesteps * term, {}
    return error + HYBRID * timesteps * term if learned else error, {}

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    x_0, keys = example.image, jax.random.split(key, bound_samples + 4)
    places = strata(keys[0], bound_samples)
    t = 2 + jnp.floor(places * ((timesteps - 1) / bound_samples)).astype(jnp.int32)
    t = jnp.minimum(t, timesteps)  # strata may have been rounded up to bound_samples
    _, terms = jax.vmap(losses, in_axes=(None, None, 0, 0))(params, x_0, t, keys[4:])
    last, (_, first) = prior_term(kernel, x_0), losses(params, x_0, jnp.int32(1), keys[1])
    error, _ = losses(params, x_0, jax.random.randint(keys[2], (), 1, timesteps + 1), keys[3])
    middle = (timesteps - 1) * terms.mean()
    return {
      'bits_per_dimension': last + middle + first,
      'l_T_bits_per_dimension': last,
      'l_t-1_bits_per_dimension': middle,
      'l_0_bits_per_dimension': first,
      'noise_squared_error': error,
    }

  def denoiser(params: Params, label: Label) -> Denoise:
    del label

    def denoise(x_t: Image, t: jax.Array) -> Image:
      predicted, _ = predict(params, x_t, t)
      return image(x_t, predicted, path.a(t), path.s(t))

    return denoise

  def on_a_grid(params: Params, label: Label, key: Key, frames: int) -> jax.Array:
    """Another sampler's way down its grid."""
    first, way = jax.random.split(key)
    x = descent.from_noise(jax.random.normal(first, image_shape))
    return descent.run(denoiser(params, label), x, way, frames)

  def by_own_steps(params: Params, label: Label, key: Key, frames: int) -> jax.Array:
    """Algorithm 2."""
    del label

    def back(x: Image, row: tuple[process.Reverse, jax.Array]) -> Image:
      step, log_range = row
      noise = jax.random.normal(jax.random.fold_in(key, step.t), image_shape)
      predicted, v = predict(params, x, step.t)
      x_0 = image(x, predicted, kernel.a[step.t], kernel.s[step.t])
      deviation = step.deviation
      if learned and sampler == 'ancestral':
        deviation = jnp.sqrt(process.learned_variance(v, deviation**2, log_range))
      return step.from_x_0 * x_0 + step.from_x_t * x + deviation * noise

    x_T = jax.random.normal(jax.random.fold_in(key, 0), image_shape)
    return follow(back, x_T, reverse, steps, frames)

  trajectory = by_own_steps if sampler in OWN else on_a_grid

  def sample(params: Params, label: Label, key: Key) -> Image:
    return trajectory(params, label, key, 1)[-1]

  return Objective(
    init,
    base.descent(loss, optimizer),
    evaluate,
    sample,
    figures={'denoising': on_the_way(trajectory, steps)},
    networks={'denoiser': network},
    **editing.abilities(denoiser, descent),
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The diffusion model that a config describes."""
  network = base.arguments(config.network)
  if config.objective.variance == 'learned':
    network['output_channels'] = 2 * facts.image_shape[-1]
  return ddpm(
    find_network(config.network.name, 'Denoiser')(**network),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **base.arguments(config.objective),
    sampler=config.sampler.name,
    **base.arguments(config.sampler),
    bound_samples=config.evaluation.bound_samples,
  )
