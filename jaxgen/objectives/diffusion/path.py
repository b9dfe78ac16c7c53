"""Gaussian paths from data to noise in continuous time: x_t = a(t) x_0 + s(t) eps.

Symbols: eps ~ N(0, I), sigma = s / a the noise in x_t / a, lambda = log(a / s) half its log-SNR;
dx = f(t) x dt + g(t) dw is the equation whose marginals these are (Song et al. 2021, sec. 3.4).
A dot, as in a_dot, is a derivative by t.
Coefficients of numpy arrays come in float64, those of JAX's arrays in their own precision.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

Time = Any  # a float, or an array of numpy or JAX
BETA_MIN, BETA_MAX = 0.1, 20.0  # of the variance-preserving paths (Song et al. 2021, app. C)
SIGMA_MIN, SIGMA_MAX = 0.01, 50.0  # of the variance-exploding one
FIRST = 1e-5  # the earliest time that is trained on, where the score has no bound at 0
TICKS = 1000.0  # networks are told times of the order of a diffusion's steps


class Path(NamedTuple):
  """How much signal and how much noise there is at a time.

  Attributes:
    a: t -> of the signal.
    s: t -> of the noise, its standard deviation.
    a_dot: t -> da / dt.
    s_dot: t -> ds / dt.
    time: sigma -> the t at which s / a is that.
    clock: t -> the number that a network is told, of the order of a diffusion's steps.
    first: the earliest time of training.
    last: the latest one, where x_t is nearly N(0, s^2 I).
  """

  a: Callable[[Time], Time]
  s: Callable[[Time], Time]
  a_dot: Callable[[Time], Time]
  s_dot: Callable[[Time], Time]
  time: Callable[[Time], Time]
  clock: Callable[[Time], Time]
  first: float
  last: float

  def sigma(self, t: Time) -> Time:
    """s / a."""
    return self.s(t) / self.a(t)

  def log_snr(self, t: Time) -> Time:
    """log(a^2 / s^2) = 2 lambda."""
    return -2.0 * library(t).log(self.sigma(t))

  def f(self, t: Time) -> Time:
    """a' / a, the linear drift."""
    return self.a_dot(t) / self.a(t)

  def g2(self, t: Time) -> Time:
    """(s^2)' - 2 f s^2, the squared diffusion."""
    s = self.s(t)
    return 2.0 * s * (self.s_dot(t) - self.f(t) * s)


def library(t: Time) -> ModuleType:
  """numpy for numbers of Python and numpy, JAX for its own."""
  return np if isinstance(t, float | np.ndarray | np.floating) else jnp


def log_a(t: Time) -> Time:
  """log a(t) = -1/2 int_0^t beta, with beta linear in time (Song et al. 2021, eq. 33)."""
  return -0.25 * t**2 * (BETA_MAX - BETA_MIN) - 0.5 * t * BETA_MIN


def beta(t: Time) -> Time:
  """From BETA_MIN at 0 to BETA_MAX at 1."""
  return BETA_MIN + t * (BETA_MAX - BETA_MIN)


def time_of(log_a: Time) -> Time:
  """The inverse of `log_a`, in a form that keeps its digits where t is small."""
  root = library(log_a).sqrt(BETA_MIN**2 - 4.0 * (BETA_MAX - BETA_MIN) * log_a)
  return -4.0 * log_a / (BETA_MIN + root)


def vp() -> Path:
  """Variance preserving: a^2 + s^2 = 1 (Song et al. 2021, eq. 11)."""

  def a(t: Time) -> Time:
    return library(t).exp(log_a(t))

  def s(t: Time) -> Time:
    return library(t).sqrt(-library(t).expm1(2.0 * log_a(t)))

  return Path(
    a,
    s,
    a_dot=lambda t: -0.5 * beta(t) * a(t),
    s_dot=lambda t: 0.5 * beta(t) * a(t) ** 2 / s(t),
    time=lambda sigma: time_of(-0.5 * library(sigma).log1p(sigma**2)),
    clock=lambda t: TICKS * t,
    first=FIRST,
    last=1.0,
  )


def subvp() -> Path:
  """The same signal under less noise: its deviation, not its variance, is 1 - a^2 (eq. 12)."""

  def a(t: Time) -> Time:
    return library(t).exp(log_a(t))

  return Path(
    a,
    s=lambda t: -library(t).expm1(2.0 * log_a(t)),
    a_dot=lambda t: -0.5 * beta(t) * a(t),
    s_dot=lambda t: beta(t) * a(t) ** 2,
    time=lambda sigma: time_of(-library(sigma).arcsinh(0.5 * sigma)),  # sigma = 1/a - a
    clock=lambda t: TICKS * t,
    first=FIRST,
    last=1.0,
  )


def ve() -> Path:
  """Variance exploding: s from SIGMA_MIN to SIGMA_MAX, geometrically (eq. 9)."""
  rate = float(np.log(SIGMA_MAX / SIGMA_MIN))

  def s(t: Time) -> Time:
    return SIGMA_MIN * library(t).exp(rate * t)

  return Path(
    a=lambda t: library(t).ones_like(t),
    s=s,
    a_dot=lambda t: library(t).zeros_like(t),
    s_dot=lambda t: rate * s(t),
    time=lambda sigma: library(sigma).log(sigma / SIGMA_MIN) / rate,
    clock=lambda t: TICKS * t,
    first=0.0,
    last=1.0,
  )


def edm() -> Path:
  """Time is the noise itself: a = 1, s = t (Karras et al. 2022, tab. 1)."""
  return Path(
    a=lambda t: library(t).ones_like(t),
    s=lambda t: t,
    a_dot=lambda t: library(t).zeros_like(t),
    s_dot=lambda t: library(t).ones_like(t),
    time=lambda sigma: sigma,
    clock=lambda t: TICKS * library(t).log(t) / 4.0,
    first=0.0,
    last=np.inf,
  )


def straight() -> Path:
  """a = 1 - t, s = t, the line from an image to its noise (Liu et al. 2023); noise is at t = 1.

  The papers' time, which the network is told, goes the other way.
  """
  return Path(
    a=lambda t: 1.0 - t,
    s=lambda t: t,
    a_dot=lambda t: -library(t).ones_like(t),
    s_dot=lambda t: library(t).ones_like(t),
    time=lambda sigma: sigma / (1.0 + sigma),
    clock=lambda t: TICKS * (1.0 - t),
    first=0.0,
    last=0.999,  # so that the image has a little weight in x_t
  )


def discrete(alpha_bar: np.ndarray) -> Path:
  """Between the steps of a diffusion in discrete time: from one to the next log sigma is a line.

  The lines at both ends go on beyond them. Slopes at a step are those of the line below it, on
  which sampling goes on.

  Args:
    alpha_bar: a^2 at t = 0 ... T, float64 (T + 1,), falling from 1.
  """
  knots = 0.5 * (np.log1p(-alpha_bar[1:]) - np.log(alpha_bar[1:]))  # log sigma at t = 1 ... T
  rises = np.diff(knots)

  def line(t: Time) -> Time:
    """Which one t is on: 0 for that from t = 1 to 2."""
    return library(t).clip(library(t).ceil(t) - 2.0, 0, len(rises) - 1).astype(int)

  def log_sigma(t: Time) -> Time:
    i = line(t)
    return library(t).asarray(knots)[i] + (t - (1.0 + i)) * slope(t)

  def slope(t: Time) -> Time:
    return library(t).asarray(rises)[line(t)]

  def a(t: Time) -> Time:
    return library(t).exp(-0.5 * library(t).logaddexp(0.0, 2.0 * log_sigma(t)))

  def s(t: Time) -> Time:
    return library(t).exp(-0.5 * library(t).logaddexp(0.0, -2.0 * log_sigma(t)))

  def time(sigma: Time) -> Time:
    numbers, x = library(sigma), library(sigma).log(sigma)
    i = numbers.clip(numbers.searchsorted(knots, x) - 1, 0, len(rises) - 1)
    return 1.0 + i + (x - numbers.asarray(knots)[i]) / numbers.asarray(rises)[i]

  return Path(
    a,
    s,
    a_dot=lambda t: -a(t) * s(t) ** 2 * slope(t),
    s_dot=lambda t: a(t) ** 2 * s(t) * slope(t),
    time=time,
    clock=lambda t: t,
    first=1.0,
    last=float(len(alpha_bar) - 1),
  )


PATHS = {'vp': vp, 'subvp': subvp, 've': ve, 'edm': edm, 'straight': straight}


def find_path(name: str) -> Path:
  """The path that `objective.path` names.

  Raises:
    ValueError: there is none of this name.
  """
  if name not in PATHS:
    raise ValueError(f'objective.path={name!r}; choose one of {", ".join(PATHS)}')
  return PATHS[name]()
