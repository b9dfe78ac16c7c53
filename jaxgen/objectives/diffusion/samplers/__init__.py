"""Samplers for any model that gives x_0: a file each, found by its name after training."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import find_module, offered
from jaxgen.objectives.base import Image, Key, Label, Params
from jaxgen.objectives.diffusion.grids import GRIDS
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise, Sampler, State
from jaxgen.objectives.diffusion.trajectory import Trajectory, follow


class Descent(NamedTuple):
  """A sampler on its grid of times, after which comes x_0.

  Attributes:
    sampler: the step from a time to the next.
    path: of x_t.
    times: that it visits, float64 (N,), falling.
    passes: of the network, each time that it denoises.
  """

  sampler: Sampler
  path: Path
  times: np.ndarray
  passes: int = 1

  @property
  def start(self) -> float:
    """The first time."""
    return float(self.times[0])

  @property
  def steps(self) -> int:
    """Their number, the last to x_0."""
    return len(self.times)

  @property
  def evaluations(self) -> int | None:
    """Of the network for one sample, where that is known beforehand."""
    each = self.sampler.evaluations
    return None if each is None else self.passes * ((self.steps - 1) * each + 1)

  @property
  def rows(self) -> Any:
    """What each step but the last needs, arrays (N - 1,)."""
    rows = self.sampler.rows(self.path, self.times)
    return jax.tree.map(lambda row: jnp.asarray(row, jnp.float32), rows)

  def from_noise(self, noise: Image) -> Image:
    """N(0, I) as x at the first time."""
    return float(self.path.s(self.times[0])) * noise

  def run(self, denoise: Denoise, x: Image, key: Key, frames: int = 1) -> jax.Array:
    """The way of x from the first time: (frames, H, W, C), evenly spaced, the sample last."""
    steps, last = self.steps - 1, float(self.times[-1])

    def forth(state: State, row: tuple[jax.Array, Any]) -> State:
      return self.sampler.step(denoise, state, row[1], jax.random.fold_in(key, row[0]))

    inputs = jnp.arange(steps), self.rows
    shown = x[None]
    if steps:
      start = self.sampler.start(x)
      shown = follow(forth, start, inputs, steps, max(frames - 1, 1), lambda state: state.x)
    x_0 = denoise(shown[-1], jnp.float32(last))
    return jnp.concatenate([shown[: frames - 1], x_0[None]])

  def trajectory(
    self,
    denoiser: Callable[[Params, Label], Denoise],
    image_shape: tuple[int, int, int],
    mean: float = 0.0,
  ) -> Trajectory:
    """The ways of samples from N(0, I), by what denoises with some parameters, around a mean."""

    def way(params: Params, label: Label, key: Key, frames: int) -> jax.Array:
      first, then = jax.random.split(key)
      x = self.from_noise(jax.random.normal(first, image_shape))
      return mean + self.run(denoiser(params, label), x, then, frames)

    return way


def find(
  path: Path,
  name: str,
  steps: int,
  grid: str = 'karras',
  sigma_min: float = 0.01,
  sigma_max: float = 0.0,
  evaluations: int = 1,
  **fields: float,
) -> Descent:
  """The sampler that a config's section `sampler` describes, for a model on this path.

  Args:
    path: of the model.
    name: of a file in this folder, or of a user's own module.
    steps: of the sampler, the last of which is to x_0.
    grid: of its times, one of GRIDS.
    sigma_min: the least noise before x_0, 0 for the path's own.
    sigma_max: the noise it starts from, 0 for the path's own.
    evaluations: of the network, each time that the sampler denoises.
    **fields: what else the sampler or the grid takes; a field that is 0 may be of another one.

  Raises:
    UserError: there is no such sampler.
    ValueError: a number out of range or without effect, or an unknown grid.
  """
  make = find_module(__name__, name, 'sampler').sampler
  if grid not in GRIDS:
    raise ValueError(f'sampler.grid={grid!r}; choose one of {", ".join(GRIDS)}')
  if steps < 2:
    raise ValueError(f'sampler.steps={steps} must be at least 2, of which the last is to x_0')
  most = path.sigma(np.array(path.last)) if np.isfinite(path.last) else np.inf
  sigma_max = sigma_max or float(most)
  sigma_min = sigma_min or float(path.sigma(np.array(path.first)))
  if not 0.0 < sigma_min < sigma_max < np.inf or sigma_max > most * (1.0 + 1e-6):
    raise ValueError(
      f'sampler.sigma_min={sigma_min} and sampler.sigma_max={sigma_max:.6g} must rise from above 0 '
      f'to {"any number" if np.isinf(most) else f"at most {most:.6g}, the most noise it knows"}'
    )
  for field, value in fields.items():
    if value and field not in taken(make, fields) | taken(GRIDS[grid], fields):
      raise ValueError(f'sampler.{field}={value} has no effect on {name}{instead(field)}')
  times = GRIDS[grid](path, steps, sigma_min, sigma_max, **taken(GRIDS[grid], fields))
  return Descent(make(**taken(make, fields)), path, times, evaluations)


def taken(function: Callable[..., Any], fields: dict[str, float]) -> dict[str, float]:
  """Those fields that are arguments of the function."""
  known = inspect.signature(function).parameters
  return {name: value for name, value in fields.items() if name in known}


def instead(field: str) -> str:
  """Ends a message about a field without effect: which samplers or grids take it."""
  names = offered(__name__, 'sampler')
  homes = [n for n in names if taken(find_module(__name__, n, 'sampler').sampler, {field: 0.0})]
  grids = [n for n, grid in GRIDS.items() if taken(grid, {field: 0.0})]
  choices = [f'sampler.name={n}' for n in homes] + [f'sampler.grid={n}' for n in grids]
  return f': use {" or ".join(choices)}, or set it to 0' if choices else ': no sampler takes it'
