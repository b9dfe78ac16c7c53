"""Gaussian data of two by two pixels, of which the best denoiser is known on any path."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import density, prediction, samplers, weighting
from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion.denoiser import Denoiser
from jaxgen.objectives.diffusion.diffusion import diffusion
from jaxgen.objectives.diffusion.guidance import Guidance
from jaxgen.objectives.diffusion.path import Path, find_path
from tests.examples import draw, examples, on_one_device

SHAPE = (2, 2, 1)
C = 0.6162  # the deviation of Gaussian data around 0
MEAN, DEVIATION = -0.4, 0.6
PATHS = {name: find_path(name) for name in paths.PATHS}
PREDICTIONS = ('noise', 'image', 'v', 'score', 'velocity', 'preconditioned')


def time_on(clock: jax.Array, path: str) -> jax.Array:
  """The t at which a path's clock stands so."""
  match path:
    case 'edm':
      return jnp.exp(4.0 * clock / 1000.0)
    case 'straight':
      return 1.0 - clock / 1000.0
  return clock / 1000.0


class Exact(nn.Module):
  """E[y | x_t] of data y ~ N(0, DEVIATION^2), as this prediction says it; or an error beside it."""

  along: str
  meaning: str
  error: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    path, t = find_path(self.along), time_on(t, self.along)
    predicted = prediction.find(self.meaning, path, DEVIATION)
    a, s = path.a(t), path.s(t)
    y = a * DEVIATION**2 * x / (a**2 * DEVIATION**2 + s**2)
    one = self.param('one', nn.initializers.ones, ())
    return one * (y - predicted.x_0(jnp.zeros_like(x), x, t)) / predicted.slope(t) + self.error


class Zero(nn.Module):
  """Nothing, as an untrained U-Net says: preconditioned, the exact denoiser."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return self.param('zero', nn.initializers.zeros, ()) * x


class Clock(nn.Module):
  """The time that it is told, in thousands, at every pixel."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return self.param('one', nn.initializers.ones, ()) * jnp.full_like(x, t / 1000.0)


class Repeating(nn.Module):
  """What it sees."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return self.param('one', nn.initializers.ones, ()) * x


def model(
  network: nn.Module,
  path: str = 'edm',
  meaning: str = 'preconditioned',
  law: str = 'log_normal',
  counted: str = 'output',
  sampler: dict[str, Any] | None = None,
  guidance: Guidance = Guidance(),  # noqa: B008
  P_mean: float = 0.0,
  P_std: float = 1.2,
  levels: int | None = None,
  **fields: Any,
) -> Objective:
  known = ('mean', 'unit_input', 'conditional', 'clip')
  own = {'mean': MEAN} | {name: fields.pop(name) for name in known if name in fields}
  along = find_path(path)
  predicted = prediction.find(meaning, along, DEVIATION)
  chosen = {'name': 'dpm_solver_2m', 'steps': 40, 'sigma_max': min(80.0, largest(path))}
  return diffusion(
    Denoiser(network, along, predicted, DEVIATION, **own),
    optax.sgd(0.1),
    Facts(SHAPE, 8, (3, 5)),
    density.find(law, along, P_mean, P_std, 7 * (law == 'levels') if levels is None else levels),
    weighting.find(counted, along, predicted),
    samplers.find(along, **chosen | (sampler or {})),
    guidance,
    **fields,
  )


def largest(path: str) -> float:
  """The most noise of a path."""
  along = find_path(path)
  return float(along.sigma(np.array(along.last))) if np.isfinite(along.last) else np.inf


def drawn(objective: Objective, count: int) -> np.ndarray:
  params, _ = objective.init(jax.random.key(0))
  return np.asarray(draw(objective, params, jax.random.split(jax.random.key(1), count)))


def losses(objective: Objective, images: jax.Array) -> tuple[float, float]:
  """In training, and held out."""
  keys = jax.random.split(jax.random.key(1), len(images))
  params, memory = objective.init(jax.random.key(0))
  trained = jax.jit(on_one_device(objective))(params, memory, images, keys)[2]['loss']
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, 0)))
  (held_out,) = evaluate(params, examples(images), keys).values()
  return float(trained), float(held_out.mean())


def gaussian(count: int) -> jax.Array:
  """Images of the data."""
  return MEAN + DEVIATION * jax.random.normal(jax.random.key(0), (count, *SHAPE))


def expected_x_0(path: Path, mean: float = 0.0, deviation: float = C) -> Callable[[Any, Any], Any]:
  """E[x_0 | x_t] of data N(mean, deviation^2)."""

  def denoise(x: Any, t: Any) -> Any:
    a, s = path.a(t), path.s(t)
    return mean + a * deviation**2 / (a**2 * deviation**2 + s**2) * (x - a * mean)

  return denoise


def each_row(rows: Any) -> list[Any]:
  columns, tree = jax.tree.flatten(rows)
  return [tree.unflatten(row) for row in zip(*columns, strict=True)]
