"""Diffusion models of two by two pixels, whose denoisers are known in closed form."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import process
from jaxgen.objectives.diffusion.ddpm import ddpm
from tests.examples import examples

SHAPE = (2, 2, 1)
M, V = 0.2, 0.09  # of Gaussian data


def tables(timesteps: int) -> np.ndarray:
  return process.alpha_bars('linear', timesteps)


def signal(timesteps: int, t: jax.Array) -> jax.Array:
  """alpha_bar at t, between whole numbers with a logit that is a line."""
  known = tables(timesteps)[1:]
  logits = jnp.asarray(np.log(known / (1 - known)), jnp.float32)
  return nn.sigmoid(jnp.interp(t, jnp.arange(1.0, timesteps + 1), logits))


class Exact(nn.Module):
  """E[eps | x_t] of data N(mean, variance I), at any time."""

  timesteps: int
  mean: float = M
  variance: float = V

  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    a = signal(self.timesteps, t)
    shift = x - jnp.sqrt(a) * self.mean
    return jnp.sqrt(1 - a) * shift / (a * self.variance + 1 - a)


class Blind(nn.Module):
  """Noise that makes the predicted x_0 a constant, whatever x_t: the bound's terms are known."""

  timesteps: int
  x_0: float = 0.0

  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    a = jnp.asarray(tables(self.timesteps), jnp.float32)[t]
    return (x - jnp.sqrt(a) * self.x_0) / jnp.sqrt(1 - a)


def model(
  network: nn.Module, shape: tuple[int, int, int] = SHAPE, **hyperparameters: Any
) -> Objective:
  """A diffusion model that need not be trained."""
  hyperparameters = {
    'steps': network.timesteps,
    'clip': False,
    'bound_samples': 1,
  } | hyperparameters
  return ddpm(network, optax.sgd(0.0), shape, network.timesteps, **hyperparameters)


def evaluate(model: Objective, images: np.ndarray, params: Any = {}) -> dict[str, np.ndarray]:  # noqa: B006
  """Metrics of every image, each under its own key."""
  keys = jax.random.split(jax.random.key(1), len(images))
  metrics = jax.jit(jax.vmap(model.evaluate, in_axes=(None, 0, 0)))(params, examples(images), keys)
  return {name: np.asarray(values, np.float64) for name, values in metrics.items()}
