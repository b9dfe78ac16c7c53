"""The variational bound of a diffusion in discrete time (Ho et al. 2020, eq. 5).

Symbols as in `process`. The bound is L_T + sum_{t>1} L_{t-1} + L_0, in bits per dimension.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxgen.objectives import distributions
from jaxgen.objectives.base import Example, Image, Key, Metrics, Params
from jaxgen.objectives.diffusion import process
from jaxgen.objectives.diffusion.noise_predictor import NoisePredictor
from jaxgen.objectives.diffusion.trajectory import strata


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


def losses(
  model: NoisePredictor,
  params: Params,
  x_0: Image,
  t: jax.Array,
  key: Key,
  mean_too: bool = True,
  dropout: Key | None = None,
) -> tuple[jax.Array, jax.Array]:
  """For one draw of x_t, the integrands of L_simple (eq. 14) and of the bound (eq. 5).

  The first is the squared error of the predicted noise, a mean over pixels; the second the
  bound's term at t, which may leave the mean, and so eps_theta, without a gradient.
  """
  kernel = model.kernel
  noise = jax.random.normal(key, x_0.shape)
  x_t = process.diffuse(x_0, noise, kernel.a[t], kernel.s[t])
  predicted, v = model(params, x_t, t, dropout)
  error = jnp.mean((noise - predicted) ** 2)
  x_0_hat = model.x_0(x_t, predicted, kernel.a[t], kernel.s[t])
  x_0_hat = x_0_hat if mean_too else jax.lax.stop_gradient(x_0_hat)
  step = kernel.variance_p[t], kernel.from_x_0[t], kernel.log_range[t]
  variance_p = model.variance_p(params, v, t, *step)
  return error, bound_term(kernel, x_0, x_0_hat, t, variance_p)


def bound(
  model: NoisePredictor, samples: int, params: Params, example: Example, key: Key
) -> Metrics:
  """The parts of eq. 5 for a held-out image, those at t > 1 from so many times, and L_simple."""
  x_0, keys, T = example.image, jax.random.split(key, samples + 4), model.timesteps
  at = partial(losses, model, params, x_0)
  t = 2 + jnp.floor(strata(keys[0], samples) * ((T - 1) / samples)).astype(jnp.int32)
  t = jnp.minimum(t, T)  # strata may have been rounded up to their number
  _, terms = jax.vmap(at)(t, keys[4:])
  last, (_, first) = prior_term(model.kernel, x_0), at(jnp.int32(1), keys[1])
  error, _ = at(jax.random.randint(keys[2], (), 1, T + 1), keys[3])
  middle = (T - 1) * terms.mean()
  return {
    'bits_per_dimension': last + middle + first,
    'l_T_bits_per_dimension': last,
    'l_t-1_bits_per_dimension': middle,
    'l_0_bits_per_dimension': first,
    'noise_squared_error': error,
  }
