"""What a sampler is: a step from a time to the next, and the numbers that it needs at each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxgen.objectives.base import Image, Key
from jaxgen.objectives.diffusion.path import Path

Denoise = Callable[[Image, Any], Image]  # x_t, t -> E[x_0 | x_t]


class State(NamedTuple):
  """Where a sampler is.

  Attributes:
    x: x_t, (H, W, C).
    x_0: what the last step has made of x_t, (H, W, C), for multistep methods, or what else these
      keep.
  """

  x: Image
  x_0: Any


def fresh(x: Image) -> State:
  """The state at the first time: nothing has been seen there, which is 0."""
  return State(x, 0.0 * x)


class Sampler(NamedTuple):
  """A way from noise to data, which knows the model by its `denoise` alone.

  No step goes to a time without noise: there x_0 is what every method here would give, and
  `samplers.find` ends with it.

  Attributes:
    rows: path, times (N,) falling -> a tree of float64 arrays (N - 1,), what each step needs.
    step: denoise, state, its row, key -> the state at the next time.
    evaluations: of the network in one step; None where each image has as many as it needs.
    start: x at the first time -> the state there.
  """

  rows: Callable[[Path, np.ndarray], Any]
  step: Callable[[Denoise, State, Any, Key], State]
  evaluations: int | None = 1
  start: Callable[[Image], State] = fresh


class Levels(NamedTuple):
  """A path at some times, float64 arrays (N,)."""

  t: np.ndarray
  a: np.ndarray
  s: np.ndarray

  @property
  def sigma(self) -> np.ndarray:
    """s / a."""
    return self.s / self.a


def levels(path: Path, t: np.ndarray) -> Levels:
  """The path's signal and noise at these times."""
  return Levels(t, path.a(t), path.s(t))


def pairs(path: Path, times: np.ndarray) -> tuple[Levels, Levels]:
  """Where each step starts, and where it ends."""
  return levels(path, times[:-1]), levels(path, times[1:])


def exponential(now: Levels, then: Levels) -> tuple[np.ndarray, np.ndarray]:
  """s_u / s and -a_u (exp(-h) - 1), with which x and a constant x_0 enter x_u.

  Lu et al. 2022 DPM-Solver++, eq. 9.
  """
  return then.s / now.s, -then.a * np.expm1(np.log(then.sigma / now.sigma))
