"""Annealed importance sampling of a linear Gaussian model, whose p(x) and p(z|x) are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.latents import annealing
from jaxgen.latents.annealing import (
  anneal,
  annealed_from_above,
  annealed_importance,
  log_mean,
  look,
  schedule,
)
from jaxgen.objectives.distributions import log_normal

D, Q, NOISE = 5, 2, 0.5
RNG = np.random.default_rng(0)
W, MU, X = RNG.normal(size=(D, Q)), RNG.normal(size=D), RNG.normal(size=D)
LOG_P = stats.multivariate_normal(MU, W @ W.T + NOISE**2 * np.eye(D)).logpdf(X)
CHAINS = 4000


def log_likelihood(z: jax.Array) -> jax.Array:
  """log N(x; W z + mu, NOISE^2 I)."""
  rest = (jnp.float32(X) - jnp.float32(MU) - jnp.float32(W) @ z) / NOISE
  return -0.5 * jnp.sum(rest**2) - D * np.log(NOISE * np.sqrt(2.0 * np.pi))


def tempered(b: float) -> tuple[np.ndarray, np.ndarray]:
  """Mean and covariance of f_b."""
  covariance = np.linalg.inv(np.eye(Q) + b * W.T @ W / NOISE**2)
  return covariance @ (b * W.T @ (X - MU)) / NOISE**2, covariance


def exact(b: float, seed: int, count: int = CHAINS) -> jax.Array:
  """Samples of f_b."""
  return jnp.float32(np.random.default_rng(seed).multivariate_normal(*tempered(b), count))


def test_temperatures_go_from_the_prior_to_the_posterior() -> None:
  b = schedule(20)
  assert b[[0, 10, 20]].tolist() == [0.0, pytest.approx(0.5), 1.0]
  steps = np.diff(b)
  np.testing.assert_allclose(steps, steps[::-1])
  assert (np.diff(steps[:10]) > 0).all()  # dense at both ends


def test_a_trajectory_leaves_its_density_as_it_is() -> None:
  """With a step so large that many are refused; without refusing, the covariance would be wrong."""
  b, (mean, covariance) = 0.5, tempered(0.5)
  points = jax.vmap(lambda z: look(log_likelihood, z))(exact(b, 1))
  keys = jax.random.split(jax.random.key(0), CHAINS)
  step = 1.5 * np.sqrt(np.linalg.eigvalsh(covariance)[0])
  moved, accepted = jax.jit(
    jax.vmap(
      lambda point, key: annealing.transition(log_likelihood, point, jnp.float32(b), step, key)
    )
  )(points, keys)
  assert 0.2 < accepted.mean() < 0.95
  z = np.asarray(moved.z, np.float64)
  white = np.linalg.solve(np.linalg.cholesky(covariance), (z - mean).T)
  np.testing.assert_allclose(white.mean(axis=1), 0.0, atol=4.0 / np.sqrt(CHAINS))
  error = 4.0 * np.sqrt(2.0 / CHAINS)
  np.testing.assert_allclose(white @ white.T / CHAINS, np.eye(Q), atol=error)
  still = ~np.asarray(accepted)
  np.testing.assert_array_equal(moved.z[still], points.z[still])
  found = jax.vmap(lambda z: look(log_likelihood, z))(moved.z)
  np.testing.assert_allclose(moved.log_likelihood, found.log_likelihood, rtol=1e-5)
  np.testing.assert_allclose(moved.gradient, found.gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('backwards', [False, True])
def test_weights_average_to_the_probability(backwards: bool) -> None:
  """And to its inverse backwards: after few temperatures, which single logs are far from."""
  b, steps = schedule(20), jnp.full(20, 0.2)
  starts = exact(1.0, 2) if backwards else exact(0.0, 2)
  b, sign = (b[::-1], -1.0) if backwards else (b, 1.0)
  key = jax.random.key(1)
  run = jax.jit(lambda starts: anneal(log_likelihood, starts, b, key, steps).log_weights)
  logs = np.asarray(run(starts), np.float64)
  ratio = np.exp(logs - sign * LOG_P)
  assert abs(ratio.mean() - 1.0) < 4.0 * ratio.std() / np.sqrt(CHAINS)
  assert 4.0 * ratio.std() / np.sqrt(CHAINS) < 0.2  # or agreement would mean little
  assert logs.mean() - sign * LOG_P < -0.1


def test_a_pilot_finds_steps_that_are_accepted_as_often_as_they_should() -> None:
  pilot = jax.jit(lambda z: anneal(log_likelihood, z, schedule(200), jax.random.key(2)))(
    exact(0.0, 3, 64)
  )
  assert abs(pilot.accepted[100:].mean() - annealing.TARGET) < 0.1
  assert pilot.steps[-1] < pilot.steps[50]  # the posterior is narrower than the prior


def test_estimates_are_near_the_exact_value_and_below_it_on_average() -> None:
  def estimate(key: jax.Array) -> jax.Array:
    return annealed_importance(log_likelihood, (Q,), key, temperatures=100, chains=16)[0]

  keys = jax.random.split(jax.random.key(3), 100)
  found = np.asarray(jax.jit(jax.vmap(estimate))(keys), np.float64) - LOG_P
  error = found.std() / np.sqrt(len(found))
  assert found.std() < 0.3
  assert -0.1 < found.mean() < 4.0 * error


def test_a_simulated_image_is_bounded_from_above() -> None:
  """On average over latents and images of the model, from the latent that each came from."""
  steps = jnp.full(60, 0.2)
  weights, mean = jnp.float32(W), jnp.float32(MU)

  def simulated(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(key, 3)
    z = jax.random.normal(keys[0], (Q,))
    x = weights @ z + mean + NOISE * jax.random.normal(keys[1], (D,))

    def log_p(z: jax.Array) -> jax.Array:
      return log_normal(x, weights @ z + mean, jnp.full(D, 2.0 * np.log(NOISE)))

    return x, annealed_from_above(log_p, z, keys[2], steps, 8)

  x, found = jax.jit(jax.vmap(simulated))(jax.random.split(jax.random.key(4), 200))
  law = stats.multivariate_normal(MU, W @ W.T + NOISE**2 * np.eye(D))
  above = np.asarray(found, np.float64) - law.logpdf(np.asarray(x))
  assert -4.0 * above.std() / np.sqrt(200) < above.mean() < 0.4


def test_log_mean() -> None:
  assert log_mean(jnp.log(jnp.array([1.0, 2.0, 6.0])) + 500.0) == pytest.approx(500.0 + np.log(3.0))
