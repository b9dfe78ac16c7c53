"""An image's way through the noise: the steps of a sampler, pictures of them, times to look at."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.objectives.base import Example, Image, Key, Label, Params

FRAMES = 10  # pictures of a way

# params, label, key, frames -> (frames, H, W, C)
Trajectory = Callable[[Params, Label, Key, int], jax.Array]


def follow(
  step: Callable[[Any, Any], Any],
  start: Any,
  inputs: Any,
  steps: int,
  frames: int,
  image: Callable[[Any], Image] = lambda x: x,
) -> jax.Array:
  """x at evenly spaced moments of a sampler's way, (frames, H, W, C), where it ends last.

  Args:
    step: x, its row of `inputs` -> the next x; x is an image, or a tree that holds one.
    start: the first x.
    inputs: a pytree of arrays (steps, ...).
    steps: how many there are.
    frames: how many moments are kept.
    image: x -> the image in it.
  """

  def forth(carry: tuple[Any, jax.Array], here: tuple[jax.Array, Any]) -> tuple:
    x, shown = carry
    i, row = here
    x = step(x, row)
    return (x, shown.at[i * frames // steps].set(image(x))), None

  carry = start, jnp.zeros((frames, *image(start).shape))
  (_, shown), _ = jax.lax.scan(forth, carry, (jnp.arange(steps), inputs))
  return shown


def sampled(trajectory: Trajectory) -> Callable[[Params, Label, Key], Image]:
  """The end of the way alone, as an objective's `sample`."""
  return lambda params, label, key: trajectory(params, label, key, 1)[-1]


def on_the_way(trajectory: Trajectory, steps: int) -> Callable[[Params, Example, Key], jax.Array]:
  """A figure, each row of which is one sample coming out of the noise.

  Of a conditional model, it is of the class of the image at its place in the batch.
  """

  def figure(params: Params, examples: Example, key: Key) -> jax.Array:
    keys = jax.random.split(key, len(examples.image))
    ways = jax.vmap(trajectory, in_axes=(None, 0, 0, None))
    return ways(params, examples.label, keys, min(FRAMES, steps))

  return figure


def strata(key: Key, count: int) -> jax.Array:
  """(count,) numbers, one drawn from each of so many equal parts of [0, count)."""
  return jnp.arange(count) + jax.random.uniform(key, (count,))
