"""Denoising diffusion probabilistic model (Ho et al. 2020), sampled in any way.

Symbols as in `process`; eps_theta(x_t, t) is the network, which predicts the noise.
Ancestral and DDIM sampling go by the diffusion's own steps, or some of them; other samplers
between them too, on the path that `path.discrete` makes of the table. With a learned variance
the network predicts v as well, in as many channels again (Nichol & Dhariwal 2021, sec. 3.1);
analytic ones come from its errors (Bao et al. 2022), see `error_table`.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, optimizers
from jaxgen.objectives.base import Example, Image, Key, Label, Memory, Metrics, Objective, Params
from jaxgen.objectives.diffusion import editing, error_table, process, samplers
from jaxgen.objectives.diffusion.noise_predictor import NoisePredictor
from jaxgen.objectives.diffusion.path import discrete
from jaxgen.objectives.diffusion.samplers import Descent, ancestral, ddim
from jaxgen.objectives.diffusion.trajectory import Trajectory, follow, on_the_way, sampled
from jaxgen.objectives.diffusion.variational_bound import bound, losses

OWN = 'ancestral', 'ddim'  # samplers by the diffusion's own steps
HYBRID = 0.001  # lambda, of the bound beside L_simple (Nichol & Dhariwal 2021, eq. 16)


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


def algorithm_1(
  model: NoisePredictor, weighting: str, params: Params, example: Example, key: Key
) -> tuple[jax.Array, Metrics]:
  """The loss of one image at one time; with a learned variance, L_hybrid.

  With an analytic variance, what there is to see of the network's errors too.
  """
  time_key, noise_key, dropout = jax.random.split(key, 3)
  t = jax.random.randint(time_key, (), 1, model.timesteps + 1)
  unclipped, variational = replace(model, clip=False), weighting == 'variational'
  error, term = losses(unclipped, params, example.image, t, noise_key, variational, dropout)
  seen = error_table.look(t, error, model.timesteps) if model.analytic else {}
  if variational:
    return model.timesteps * term, seen
  return error + HYBRID * model.timesteps * term if model.learned else error, seen


def algorithm_2(
  model: NoisePredictor,
  steps: tuple[process.Reverse, jax.Array],
  own_variance: bool,
  params: Params,
  x_T: Image,
  key: Key,
  frames: int,
) -> jax.Array:
  """The way of x_T down `reverse_steps`, by their variance or the model's own, (frames, ...)."""
  kernel = model.kernel

  def back(x: Image, row: tuple[process.Reverse, jax.Array]) -> Image:
    step, log_range = row
    noise = jax.random.normal(jax.random.fold_in(key, step.t), x.shape)
    predicted, v = model(params, x, step.t)
    x_0 = model.x_0(x, predicted, kernel.a[step.t], kernel.s[step.t])
    deviation = step.deviation
    if own_variance:
      own = model.variance_p(params, v, step.t, deviation**2, step.from_x_0, log_range)
      deviation = jnp.where(deviation > 0.0, jnp.sqrt(own), 0.0)  # the last step shows the mean
    return step.from_x_0 * x_0 + step.from_x_t * x + deviation * noise

  return follow(back, x_T, steps, len(steps[1]), frames)


def way_down(
  model: NoisePredictor,
  alpha_bar: np.ndarray,
  image_shape: tuple[int, int, int],
  sampler: str = 'ancestral',
  steps: int = 1000,
  eta: float = 0.0,
  **fields: float | str,
) -> tuple[Trajectory, Descent]:
  """How samples come out of the noise, and the steps by which given images are edited.

  Args:
    model: of the reverse steps.
    alpha_bar: (T + 1,) float64.
    image_shape: (H, W, C).
    sampler: 'ancestral' (alg. 2), 'ddim' (Song et al. 2021), or any of `samplers`.
    steps: how many of the T steps sampling visits; of another sampler, its own.
    eta: of DDIM: 0 is deterministic, 1 is ancestral in law.
    **fields: of another sampler and its grid, see `samplers.find`.

  Raises:
    UserError: there is no such sampler.
    ValueError: a number out of range or without effect.
  """
  path = discrete(alpha_bar)
  if sampler not in OWN:
    descent = samplers.find(path, sampler, steps, eta=eta, **fields)
    return descent.trajectory(partial(model.denoiser, path), image_shape), descent
  rows = reverse_steps(alpha_bar, model.variance, sampler, steps, eta, fields)
  own_variance = (model.learned or model.analytic) and sampler == 'ancestral'

  def trajectory(params: Params, label: Label, key: Key, frames: int) -> jax.Array:
    del label
    x_T = jax.random.normal(jax.random.fold_in(key, 0), image_shape)
    return algorithm_2(model, rows, own_variance, params, x_T, key, frames)

  # Images are edited by the same steps, of the posterior's variance or less.
  kept = ancestral.sampler() if sampler == 'ancestral' else ddim.sampler(min(eta, 1.0))
  times = process.sampling_times(model.timesteps, steps)[:0:-1].astype(float)
  return trajectory, Descent(kept, path, times)


def ddpm(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  timesteps: int = 1000,
  schedule: str = 'linear',
  weighting: str = 'simple',
  variance: str = 'small',
  clip: bool = True,
  bound_samples: int = 8,
  **sampling: float | str,
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
      from which the mean gets no gradient (Nichol & Dhariwal 2021, eq. 16); 'analytic' is the best
      one for the network's errors at each t, of which training keeps count (Bao et al. 2022).
    clip: whether the predicted x_0 is clipped to [-1, 1] in sampling and in the reported bound;
      never in training, where a clipped pixel would have no gradient.
    bound_samples: times t > 1 at which `evaluate` looks, one from each of so many equal strata.
    **sampling: the sampler and its fields, see `way_down`.

  Raises:
    UserError: there is no such sampler.
    ValueError: another unknown name, or a number out of range or without effect.
  """
  check(timesteps, weighting, variance, bound_samples)
  abar = process.alpha_bars(schedule, timesteps)
  model = NoisePredictor(network, process.kernel(abar, variance), variance, clip)
  trajectory, descent = way_down(model, abar, image_shape, **sampling)
  learn = error_table.descent if model.analytic else base.descent

  def init(key: Key) -> tuple[Params, Memory]:
    params = model.init(key, image_shape)
    return params, optimizer.init(params['network'] if model.analytic else params)

  return Objective(
    init,
    learn(partial(algorithm_1, model, weighting), optimizer),
    partial(bound, model, bound_samples),
    sampled(trajectory),
    figures={'denoising': on_the_way(trajectory, descent.steps)},
    networks={'denoiser': network},
    averaged={'network': True, 'errors': False} if model.analytic else True,
    **editing.abilities(partial(model.denoiser, descent.path), descent),
  )


def check(timesteps: int, weighting: str, variance: str, bound_samples: int) -> None:
  """Raises ValueError for an unknown name, or more samples of the bound than it has terms."""
  for name, chosen, known in (
    ('weighting', weighting, ('simple', 'variational')),
    ('variance', variance, ('small', 'large', 'learned', 'analytic')),
  ):
    if chosen not in known:
      raise ValueError(f'objective.{name}={chosen!r}; choose {" or ".join(known)}')
  if not 1 <= bound_samples < timesteps:
    raise ValueError(
      f'evaluation.bound_samples={bound_samples} must lie between 1 and timesteps - 1 = '
      f'{timesteps - 1}'
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
