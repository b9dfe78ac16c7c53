"""Annealed importance sampling of log p(x) by Hamiltonian Monte Carlo (Neal 2001; Wu et al. 2017).

Symbols: z a latent, p(z) = N(0, I), b the inverse temperature, f_b(z) = p(z) p(x|z)^b. Chains go
from samples of the prior, b = 0, through densities f_b to the posterior, b = 1, and the products of
their weights f_b' / f_b average to p(x). So the log of their mean is below log p(x) on average, and
by less the more chains and temperatures there are. Backwards from a sample of the posterior, the
products average to 1 / p(x), for a bound from above (Grosse et al. 2015).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from jaxgen.objectives.base import Key

LogLikelihood = Callable[[jax.Array], jax.Array]  # z -> log p(x|z)

LEAPFROGS = 10  # steps of a trajectory
TARGET = 0.65  # share of trajectories that should be accepted (Neal 2011, sec. 5.4.4.3)
CHANGE = 1.05  # factor by which a pilot changes its step size from one temperature to the next
FIRST = 0.5  # step size at which a pilot begins
JITTER = 0.2  # by which a trajectory's step size differs, lest trajectories be closed orbits


class Point(NamedTuple):
  """Where a chain is, and what is known there."""

  z: jax.Array
  log_likelihood: jax.Array  # log p(x|z)
  gradient: jax.Array  # of it, in z


class Annealed(NamedTuple):
  """What chains found on their way.

  Attributes:
    log_weights: (chains,), the logs of the products of f_b' / f_b.
    accepted: (T,), the share of chains whose trajectory was accepted, by temperature.
    steps: (T,), step sizes.
  """

  log_weights: jax.Array
  accepted: jax.Array
  steps: jax.Array


def schedule(count: int, sharpness: float = 4.0) -> np.ndarray:
  """Inverse temperatures from 0 to 1, dense at both ends: (count + 1,) (Wu et al. 2017, app. B)."""
  curve = 1.0 / (1.0 + np.exp(-sharpness * np.linspace(-1.0, 1.0, count + 1)))
  return (curve - curve[0]) / (curve[-1] - curve[0])


def transition(
  log_likelihood: LogLikelihood, start: Point, b: jax.Array, step: jax.Array, key: Key
) -> tuple[Point, jax.Array]:
  """One trajectory of Hamiltonian Monte Carlo, which leaves f_b as it is (Neal 2011, fig. 2).

  Returns:
    Where the chain is then, and whether it moved.
  """
  momentum_key, step_key, accept_key = jax.random.split(key, 3)
  step *= 1.0 + JITTER * jax.random.uniform(step_key, minval=-1.0)

  def force(point: Point) -> jax.Array:
    return b * point.gradient - point.z

  def log_density(point: Point, momentum: jax.Array) -> jax.Array:
    """log f_b(z) - |momentum|^2 / 2, up to a constant."""
    return b * point.log_likelihood - 0.5 * jnp.sum(point.z**2 + momentum**2)

  def leapfrog(state: tuple[Point, jax.Array], _: None) -> tuple[tuple[Point, jax.Array], None]:
    point, momentum = state
    momentum = momentum + 0.5 * step * force(point)
    point = look(log_likelihood, point.z + step * momentum)
    return (point, momentum + 0.5 * step * force(point)), None

  momentum = jax.random.normal(momentum_key, start.z.shape)
  (end, last), _ = jax.lax.scan(leapfrog, (start, momentum), None, LEAPFROGS)
  gain = log_density(end, last) - log_density(start, momentum)
  accepted = jnp.log(jax.random.uniform(accept_key)) < gain  # never where a trajectory diverged
  return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), end, start), accepted


def look(log_likelihood: LogLikelihood, z: jax.Array) -> Point:
  """What is known at z."""
  return Point(z, *jax.value_and_grad(log_likelihood)(z))


def anneal(
  log_likelihood: LogLikelihood,
  starts: jax.Array,
  temperatures: np.ndarray,
  key: Key,
  steps: jax.Array | None = None,
) -> Annealed:
  """Chains through f_b at one inverse temperature after another.

  Args:
    log_likelihood: z -> log p(x|z).
    starts: (chains, ...), exact samples of f_b at the first temperature.
    temperatures: b, (T + 1,), in either direction.
    key: of all randomness.
    steps: (T,), of trajectories. None to seek such that TARGET of them are accepted: a pilot, whose
      weights are no estimate, as its step sizes depend on its past.
  """
  chains = len(starts)
  b = jnp.asarray(temperatures, starts.dtype)
  given = jnp.full(len(b) - 1, FIRST) if steps is None else steps

  def cool(state: tuple[jax.Array, ...], row: tuple[jax.Array, ...]) -> tuple[tuple, tuple]:
    points, log_weights, factor = state
    before, now, size, index = row
    log_weights += (now - before) * points.log_likelihood
    keys = jax.random.split(jax.random.fold_in(key, index), chains)
    size *= factor
    points, accepted = jax.vmap(
      lambda point, key: transition(log_likelihood, point, now, size, key)
    )(points, keys)
    share = accepted.mean()
    if steps is None:
      factor *= jnp.where(share > TARGET, CHANGE, 1.0 / CHANGE)
    return (points, log_weights, factor), (share, size)

  points = jax.vmap(lambda z: look(log_likelihood, z))(starts)
  state = points, jnp.zeros(chains, starts.dtype), jnp.ones((), starts.dtype)
  rows = b[:-1], b[1:], given, jnp.arange(len(given))
  (_, log_weights, _), (shares, sizes) = jax.lax.scan(cool, state, rows)
  return Annealed(log_weights, shares, sizes)


def annealed_importance(
  log_likelihood: LogLikelihood,
  shape: tuple[int, ...],
  key: Key,
  temperatures: int,
  chains: int,
) -> tuple[jax.Array, Annealed]:
  """An estimate of log p(x) in nats, at most log p(x) on average, and the chains that made it.

  A pilot of as many chains finds the step sizes first.

  Args:
    log_likelihood: z -> log p(x|z).
    shape: of z.
    key: of all randomness.
    temperatures: how many, after the prior's.
    chains: how many.
  """
  start_keys, way_keys = (jax.random.split(k) for k in jax.random.split(key))
  b = schedule(temperatures)
  first, second = (jax.random.normal(k, (chains, *shape)) for k in start_keys)
  pilot = anneal(log_likelihood, first, b, way_keys[0])
  found = anneal(log_likelihood, second, b, way_keys[1], pilot.steps)
  return log_mean(found.log_weights), found


def annealed_from_above(
  log_likelihood: LogLikelihood, z: jax.Array, key: Key, steps: jax.Array, chains: int
) -> jax.Array:
  """An estimate of log p(x) in nats, at least log p(x) on average (Grosse et al. 2015, sec. 3).

  Args:
    log_likelihood: z -> log p(x|z).
    z: a sample of p(z|x), as the one is that a simulated x came from.
    key: of all randomness.
    steps: (T,), of chains that came from the prior.
    chains: how many.
  """
  starts = jnp.broadcast_to(z, (chains, *z.shape))
  back = schedule(len(steps))[::-1]
  return -log_mean(anneal(log_likelihood, starts, back, key, steps[::-1]).log_weights)


def log_mean(logs: jax.Array) -> jax.Array:
  """The log of the mean of what (N,) are the logs of."""
  return logsumexp(logs) - jnp.log(logs.size)
