"""What a network says of x_t = a x_0 + s eps, and the x_0 and eps that follow from it.

Symbols as in `path`. Each prediction is a pair of functions that undo each other: what an ideal
network would give out, and the x_0 to which its output takes x_t.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax

from jaxgen.objectives.diffusion.path import Path, library

Level = jax.Array  # t, a time of the path, ()


class Prediction(NamedTuple):
  """A meaning of a network's output.

  Attributes:
    target: x_0, eps, t -> the output that says so.
    x_0: output, x_t, t -> the image that the output speaks of, linear in both.
  """

  target: Callable[[jax.Array, jax.Array, Level], jax.Array]
  x_0: Callable[[jax.Array, jax.Array, Level], jax.Array]

  def slope(self, t: Level) -> jax.Array:
    """dx_0 / d output, by which an error of the output is one of x_0."""
    one = library(t).ones_like(t)
    return self.x_0(one, 0.0 * one, t) - self.x_0(0.0 * one, 0.0 * one, t)


def noise_in(path: Path, x_t: jax.Array, x_0: jax.Array, t: Level) -> jax.Array:
  """eps = (x_t - a x_0) / s."""
  return (x_t - path.a(t) * x_0) / path.s(t)


def noise(path: Path) -> Prediction:
  """The output is eps (Ho et al. 2020, eq. 15)."""
  return Prediction(
    lambda x_0, eps, t: eps,
    lambda output, x_t, t: (x_t - path.s(t) * output) / path.a(t),
  )


def image(path: Path) -> Prediction:
  """The output is x_0."""
  del path
  return Prediction(lambda x_0, eps, t: x_0, lambda output, x_t, t: output)


def v(path: Path) -> Prediction:
  """The output is a eps - s x_0 (Salimans & Ho 2022, sec. 4), on any path."""

  def x_0(output: jax.Array, x_t: jax.Array, t: Level) -> jax.Array:
    a, s = path.a(t), path.s(t)
    return (a * x_t - s * output) / (a**2 + s**2)

  return Prediction(lambda x_0, eps, t: path.a(t) * eps - path.s(t) * x_0, x_0)


def score(path: Path) -> Prediction:
  """The output is grad log p(x_t) = -eps / s (Song et al. 2021, eq. 7)."""
  return Prediction(
    lambda x_0, eps, t: -eps / path.s(t),
    lambda output, x_t, t: (x_t + path.s(t) ** 2 * output) / path.a(t),
  )


def velocity(path: Path) -> Prediction:
  """The output is -dx_t / dt = -a' x_0 - s' eps, towards the image (Lipman et al. 2023, eq. 23)."""

  def x_0(output: jax.Array, x_t: jax.Array, t: Level) -> jax.Array:
    s, s_dot = path.s(t), path.s_dot(t)
    return (s_dot * x_t + s * output) / (s_dot * path.a(t) - s * path.a_dot(t))

  return Prediction(lambda x_0, eps, t: -path.a_dot(t) * x_0 - path.s_dot(t) * eps, x_0)


def preconditioned(path: Path, deviation: float) -> Prediction:
  """The output is F, of unit variance at any noise (Karras et al. 2022, eq. 7 and tab. 1).

  x_0 = c_skip x + c_out F with x = x_t / a. An output of 0 is the x_0 that is expected of data
  N(0, deviation^2 I).
  """

  def coefficients(t: Level) -> tuple[jax.Array, jax.Array]:
    """c_skip and c_out."""
    sigma = path.sigma(t)
    variance = sigma**2 + deviation**2
    return deviation**2 / variance, sigma * deviation / library(t).sqrt(variance)

  def target(x_0: jax.Array, eps: jax.Array, t: Level) -> jax.Array:
    c_skip, c_out = coefficients(t)
    return (x_0 - c_skip * (x_0 + path.sigma(t) * eps)) / c_out

  def x_0(output: jax.Array, x_t: jax.Array, t: Level) -> jax.Array:
    c_skip, c_out = coefficients(t)
    return c_skip * x_t / path.a(t) + c_out * output

  return Prediction(target, x_0)


def find(name: str, path: Path, deviation: float) -> Prediction:
  """The prediction that `objective.prediction` names, of data of this deviation.

  Raises:
    ValueError: there is none of this name, or the deviation is not positive.
  """
  known = {
    'noise': noise,
    'image': image,
    'v': v,
    'score': score,
    'velocity': velocity,
    'preconditioned': partial(preconditioned, deviation=deviation),
  }
  if name not in known:
    raise ValueError(f'objective.prediction={name!r}; choose one of {", ".join(known)}')
  if deviation <= 0.0:
    raise ValueError(
      f'objective.sigma_data={deviation} must be positive: the deviation of the data'
    )
  return known[name](path)
