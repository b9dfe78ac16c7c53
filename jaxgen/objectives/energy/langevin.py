"""Langevin dynamics at a stated temperature: chains whose law tends to exp(-E(x) / T).

Symbols: E energy, T temperature, eta step size. A step takes x to x - eta E'(x) + sqrt(2 eta T) eps
with eps ~ N(0, I), so that step and noise agree on T. Papers that choose the noise by itself choose
a temperature by it: steps of 10 with noise of 0.005 (Du & Mordatch 2019) are of T = 1.25e-6.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.objectives.base import Image, Key


class Langevin(NamedTuple):
  """How a chain is run.

  Attributes:
    steps: their number.
    step_size: eta. For a quadratic energy x^2 / (2 c^2) they settle where eta < 2 c^2, at the
      variance T c^2 / (1 - eta / (2 c^2)).
    temperature: T.
    clip: largest size of a derivative of E in a step; 0 leaves them as they are. Where it cuts, the
      law of the chain is another.
  """

  steps: int
  step_size: float
  temperature: float
  clip: float = 0.0


def check(langevin: Langevin, section: str) -> Langevin:
  """It, if a chain can be run so.

  Raises:
    ValueError: names the fields of this section of the config that are out of range.
  """
  if langevin.steps < 1 or min(langevin.step_size, langevin.temperature) <= 0.0:
    raise ValueError(
      f'{section}.steps={langevin.steps} must be at least 1, {section}.step_size='
      f'{langevin.step_size} and {section}.temperature={langevin.temperature} above 0'
    )
  if langevin.clip < 0.0:
    raise ValueError(f'{section}.clip={langevin.clip} must not be negative; 0 clips nothing')
  return langevin


def chain(
  energy: Callable[[Image], jax.Array], x: Image, key: Key, langevin: Langevin, frames: int = 1
) -> jax.Array:
  """x after so many steps, and after each multiple of them: (frames, H, W, C), the end last."""

  def step(x: Image, i: jax.Array) -> tuple[Image, None]:
    slope = jax.grad(energy)(x)
    if langevin.clip:
      slope = jnp.clip(slope, -langevin.clip, langevin.clip)
    noise = jax.random.normal(jax.random.fold_in(key, i), x.shape)
    deviation = jnp.sqrt(2.0 * langevin.step_size * langevin.temperature)
    return x - langevin.step_size * slope + deviation * noise, None

  def leg(x: Image, turns: jax.Array) -> tuple[Image, Image]:
    x, _ = jax.lax.scan(step, x, turns)
    return x, x

  turns = jnp.arange(frames * langevin.steps).reshape(frames, langevin.steps)
  return jax.lax.scan(leg, x, turns)[1]


def denoised(
  energy: Callable[[Image], jax.Array], x: Image, noise: float, temperature: float
) -> Image:
  """E[x_0 | x] = x - noise^2 E'(x) / T, where x = x_0 + noise eps has the density exp(-E / T).

  The jump after a walk of Saremi & Hyvärinen 2019, by the formula of Miyasawa 1961.
  """
  return x - noise**2 / temperature * jax.grad(energy)(x)
