"""Gaussian diffusion in discrete time: schedules, kernels and posteriors (Ho et al. 2020, sec. 2).

Symbols: beta_t variance of step t, alpha_bar_t = prod_s (1 - beta_s) with alpha_bar_0 = 1, x_0
data, x_t = a_t x_0 + s_t eps its noisy version with a_t^2 = alpha_bar_t, s_t^2 = 1 - alpha_bar_t
and eps ~ N(0, I). Coefficients are made in float64 with numpy, where 1 - alpha_bar keeps its
digits, and only then handed to the model; arrays run over t = 0 ... T.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike


def linear_betas(timesteps: int) -> np.ndarray:
  """beta_1 ... beta_T from 1e-4 to 0.02 (sec. 4), scaled so that any T ends at the same noise."""
  return np.linspace(1e-4, 0.02, timesteps) * (1000 / timesteps)


def cosine_betas(timesteps: int) -> np.ndarray:
  """alpha_bar_t ~ cos^2, beta_t at most 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
  t = np.arange(timesteps + 1) / timesteps
  f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
  return np.minimum(1.0 - f[1:] / f[:-1], 0.999)


SCHEDULES = {'linear': linear_betas, 'cosine': cosine_betas}


def alpha_bars(schedule: str, timesteps: int) -> np.ndarray:
  """alpha_bar_0 = 1, ..., alpha_bar_T in float64, (T + 1,).

  Raises:
    ValueError: an unknown schedule, or so few steps that a step would remove all signal.
  """
  if schedule not in SCHEDULES:
    raise ValueError(f'objective.schedule={schedule!r}; choose one of {", ".join(SCHEDULES)}')
  betas = SCHEDULES[schedule](timesteps) if timesteps > 1 else np.ones(1)
  if betas.max() >= 1.0:
    raise ValueError(
      f'objective.timesteps={timesteps} makes a step of variance {betas.max():.3g}: '
      'the linear schedule needs at least 21 steps'
    )
  return np.concatenate([[1.0], np.cumprod(1.0 - betas)])


def diffuse(x_0: jax.Array, noise: jax.Array, a: ArrayLike, s: ArrayLike) -> jax.Array:
  """x_t = a x_0 + s eps (eq. 4)."""
  return a * x_0 + s * noise


def predict_x_0(x_t: jax.Array, noise: jax.Array, a: ArrayLike, s: ArrayLike) -> jax.Array:
  """The x_0 that `diffuse` would have taken to x_t with this noise (eq. 15)."""
  return (x_t - s * noise) / a


def score(noise: jax.Array, s: ArrayLike) -> jax.Array:
  """grad log p_t(x_t) = -E[eps | x_t] / s (Tweedie's formula)."""
  return -noise / s


def posterior_variance(alpha_bar_t: ArrayLike, alpha_bar_s: ArrayLike) -> ArrayLike:
  """Variance of q(x_s | x_t, x_0) for s < t (eq. 7, where s = t - 1)."""
  return (1.0 - alpha_bar_s) / (1.0 - alpha_bar_t) * (1.0 - alpha_bar_t / alpha_bar_s)


def log_range(alpha_bar_t: ArrayLike, alpha_bar_s: ArrayLike) -> ArrayLike:
  """log of the 'large' variance of a step from t to s over the 'small' one."""
  return np.log((1.0 - alpha_bar_t) / (1.0 - alpha_bar_s))


def learned_variance(v: jax.Array, small: ArrayLike, log_range: ArrayLike) -> jax.Array:
  """exp(f log large + (1 - f) log small) with f = (v + 1) / 2 (Nichol & Dhariwal 2021, eq. 15)."""
  return small * jnp.exp(0.5 * (v + 1.0) * log_range)


def analytic_variance(
  error: jax.Array, small: ArrayLike, from_x_0: ArrayLike, sigma: ArrayLike
) -> jax.Array:
  """Of x_s given x_t: the posterior's, and that of the x_0 which the network misses.

  Of those that are the same for every pixel it makes the bound least, whatever the network (Bao et
  al. 2022, Estimating the optimal covariance with imperfect mean). An exact one has the error
  1 - E|eps_theta|^2, with which this is Analytic-DPM's (Bao et al. 2022, thm. 1).

  Args:
    error: E|eps - eps_theta|^2 at t, a mean over pixels.
    small: the variance of q(x_s | x_t, x_0).
    from_x_0: what its mean takes of x_0.
    sigma: s_t / a_t, by which an error of eps is one of x_0.
  """
  return small + (from_x_0 * sigma) ** 2 * error


class Reverse(NamedTuple):
  """x_s = from_x_0 * x_0 + from_x_t * x_t + deviation * eps, a step back in time, for each t."""

  t: np.ndarray
  from_x_0: np.ndarray
  from_x_t: np.ndarray
  deviation: np.ndarray


def reverse_steps(
  alpha_bar: np.ndarray, times: np.ndarray, eta: float = 1.0, variance: str = 'small'
) -> Reverse:
  """The coefficients of one reverse step for each consecutive pair of `times`.

  All samplers here are one family (Song et al. 2021 DDIM, eq. 12 and 16): with eta = 1 the step is
  the posterior q(x_s | x_t, x_0) of ancestral sampling (eq. 7), with eta = 0 it is deterministic.

  Args:
    alpha_bar: (T + 1,) float64.
    times: 0 = times[0] < ... < times[-1] = T: the steps that sampling visits.
    eta: 1 keeps the law of the ancestral chain, 0 adds no noise.
    variance: of the added noise at eta = 1: 'small' is the posterior's, 'large' is beta (sec.
      3.2), 'learned' the small one, for a network to widen.

  Returns:
    float64 arrays (len(times) - 1,), in the order of decreasing t.

  Raises:
    ValueError: eta is negative, or would add more noise than there is at some time.
  """
  t, s = times[1:][::-1], times[:-1][::-1]
  abar_t, abar_s = alpha_bar[t], alpha_bar[s]
  small = posterior_variance(abar_t, abar_s)
  kept = 1.0 - abar_s - eta**2 * small
  if eta < 0.0 or kept.min() < -1e-12:  # rounding is no excess
    most = np.sqrt(np.min((1.0 - abar_s)[s > 0] / small[s > 0], initial=np.inf))
    raise ValueError(f'sampler.eta={eta} must lie between 0 and, on these steps, {most:.4g}')
  direct = np.sqrt(np.maximum(kept, 0.0) / (1.0 - abar_t))
  added = eta**2 * (1.0 - abar_t / abar_s if variance == 'large' else small)
  return Reverse(
    t=t,
    from_x_0=np.sqrt(abar_s) - direct * np.sqrt(abar_t),
    from_x_t=direct,
    deviation=np.where(s > 0, np.sqrt(added), 0.0),  # the last step shows the mean
  )


def sampling_times(timesteps: int, steps: int) -> np.ndarray:
  """steps + 1 times from 0 to T, as evenly spaced as whole numbers allow.

  Raises:
    ValueError: more steps than the chain has, or none.
  """
  if not 1 <= steps <= timesteps:
    raise ValueError(
      f'sampler.steps={steps} must lie between 1 and objective.timesteps={timesteps}'
    )
  return np.round(np.linspace(0, timesteps, steps + 1)).astype(int)


class Kernel(NamedTuple):
  """What the bound needs of every step t - 1 <- t, float32 (T + 1,), indexed by t."""

  a: jax.Array  # sqrt(alpha_bar), of the signal in x_t
  s: jax.Array  # sqrt(1 - alpha_bar), of the noise in x_t
  from_x_0: jax.Array  # the posterior mean's dependence on x_0 (eq. 7)
  variance_q: jax.Array  # of the posterior q(x_{t-1} | x_t, x_0)
  variance_p: jax.Array  # of the model p(x_{t-1} | x_t); learned or analytic, the least
  log_range: jax.Array  # log(beta_t / the small one), how much more a learned one is at most


def kernel(alpha_bar: np.ndarray, variance: str) -> Kernel:
  """Tables of all T steps for 'small' (the posterior's), 'large' (beta_t) or other variances.

  At t = 1, where the posterior's variance is zero, the model's is that at t = 2, as in the
  paper's own code; a learned one is between this and beta_1, and an analytic one adds to the zero.
  So is there the posterior's: no term of the bound takes it, but a gradient would not pass a zero.
  """
  steps = reverse_steps(alpha_bar, np.arange(len(alpha_bar)))
  small = posterior_variance(alpha_bar[1:], alpha_bar[:-1])
  small[0] = small[1]
  beta = 1.0 - alpha_bar[1:] / alpha_bar[:-1]
  first = [0.0] if variance == 'analytic' else small[:1]
  model = np.concatenate([first, (beta if variance == 'large' else small)[1:]])
  columns = steps.from_x_0[::-1], small, model, np.log(beta / small)
  columns = (np.concatenate([[0.0], c]) for c in columns)
  tables = np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar), *columns
  return Kernel(*(jnp.asarray(table, jnp.float32) for table in tables))
