"""Numbers as vectors that networks can tell apart."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def timestep_embedding(t: jax.Array, features: int) -> jax.Array:
  """() -> (features,): sines and cosines of t at frequencies 1 ... 1e-4 (Vaswani et al. 2017)."""
  frequencies = jnp.exp(-math.log(1e4) * jnp.linspace(0.0, 1.0, features // 2))
  angles = jnp.asarray(t, jnp.float32) * frequencies
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


def fourier_embedding(t: jax.Array, features: int, scale: float = 16.0) -> jax.Array:
  """() -> (features,): sines and cosines of t / 1000 at random, fixed frequencies ~ N(0, scale^2).

  Tancik et al. 2020; of the noise level, Song et al. 2021, app. H.
  """
  frequencies = scale * np.random.default_rng(0).normal(size=features // 2)
  angles = jnp.asarray(t, jnp.float32) * jnp.asarray(2e-3 * np.pi * frequencies, jnp.float32)
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


def grid_embedding(height: int, width: int, features: int) -> np.ndarray:
  """(height, width, features): sines and cosines of the row, then of the column.

  Features are a multiple of 4.
  """
  frequencies = 1e4 ** -np.linspace(0.0, 1.0, features // 4, endpoint=False)
  angles = [np.outer(np.arange(size), frequencies) for size in (height, width)]
  rows, columns = (np.concatenate([np.sin(a), np.cos(a)], axis=1) for a in angles)
  shape = (height, width, features // 2)
  parts = np.broadcast_to(rows[:, None], shape), np.broadcast_to(columns[None], shape)
  return np.concatenate(parts, axis=-1).astype(np.float32)
