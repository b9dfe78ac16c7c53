"""Likelihood by the probability flow, of Gaussians whose density is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.stats import ortho_group

from jaxgen.objectives.diffusion.likelihood import bits_per_dimension, log_density
from jaxgen.objectives.diffusion.path import Path, find_path
from tests.examples import examples
from tests.objectives import gaussian

SHAPE = (2, 3, 1)
LEAST, MOST = 0.05, 60.0
ROTATION = ortho_group.rvs(6, random_state=0)
SPREAD = ROTATION @ np.diag([1.0, 0.5, 0.3, 0.2, 0.1, 0.05]) @ ROTATION.T  # a covariance


def denoiser(path: Path, covariance: np.ndarray) -> object:
  """E[y | x_t] of data N(0, covariance)."""
  values, vectors = (jnp.asarray(found, jnp.float32) for found in np.linalg.eigh(covariance))

  def denoise(x: jax.Array, t: jax.Array) -> jax.Array:
    shrunk = values / (values + path.sigma(t) ** 2)
    seen = vectors @ (shrunk * (vectors.T @ (x.ravel() / path.a(t))))
    return seen.reshape(SHAPE).astype(x.dtype)

  return denoise


@pytest.mark.parametrize('name', ['edm', 'vp', 'straight'])
def test_density_of_a_rotated_gaussian(name: str) -> None:
  """Exact but for the steps and the trace, whose error over draws of signs averages out."""
  path = find_path(name)
  z = jnp.asarray(np.random.default_rng(0).multivariate_normal(np.zeros(6), SPREAD), jnp.float32)
  keys = jax.random.split(jax.random.key(0), 400)
  found = jax.jit(
    jax.vmap(
      lambda key: log_density(denoiser(path, SPREAD), path, z.reshape(SHAPE), key, 100, LEAST, MOST)
    )
  )(keys)
  found = np.asarray(found, np.float64)
  exact = stats.multivariate_normal(cov=SPREAD + LEAST**2 * np.eye(6)).logpdf(np.asarray(z))
  assert found.std() > 0.1  # signs matter where directions differ
  assert found.mean() == pytest.approx(exact, abs=float(found.std()) / 5 + 0.02)


def test_one_draw_of_signs_is_exact_where_directions_do_not_differ() -> None:
  path, z = find_path('edm'), jnp.linspace(-1.0, 1.0, 6).reshape(SHAPE)
  exact = stats.norm(scale=np.hypot(0.6, LEAST)).logpdf(np.asarray(z)).sum()
  for key in range(3):
    args = (denoiser(path, 0.36 * np.eye(6)), path, z, jax.random.key(key), 400, LEAST, MOST)
    assert log_density(*args) == pytest.approx(exact, abs=4e-3)  # of Heun's steps


def test_bits_of_a_model_are_of_its_pixels_less_their_mean() -> None:
  """Grey levels of N(MEAN, DEVIATION^2), of which preconditioning alone is the best denoiser."""
  objective = gaussian.model(gaussian.Zero(), likelihood_steps=60)
  params, _ = objective.init(jax.random.key(0))
  drawn = np.random.default_rng(0).normal(size=(400, *gaussian.SHAPE))
  levels = np.round((gaussian.MEAN + gaussian.DEVIATION * drawn) * 127.5) / 127.5
  keys = jax.random.split(jax.random.key(1), 400)
  found = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, 0)))(
    params, examples(levels), keys
  )
  entropy = np.log2(gaussian.DEVIATION * np.sqrt(2 * np.pi * np.e) * 127.5)
  bits = found['probability_flow_bits_per_dimension']
  assert bits.mean() == pytest.approx(entropy, abs=0.1)


def test_bits_bound_those_of_the_discrete_pixels() -> None:
  """Grey levels of N(0, 0.3^2): the entropy of the rounded values, from SciPy's cdf."""
  path, deviation = find_path('edm'), 0.3
  edges = (np.arange(-200, 201) - 0.5) * 2 / 255
  mass = np.diff(stats.norm(scale=deviation).cdf(edges))
  entropy = -np.sum(mass * np.log2(np.where(mass > 0, mass, 1.0)))
  levels = np.round(np.random.default_rng(0).normal(0, deviation, (500, *SHAPE)) * 127.5) / 127.5
  keys = jax.random.split(jax.random.key(1), 500)
  bits = jax.jit(
    jax.vmap(lambda y, key: bits_per_dimension(denoiser(path, 0.09 * np.eye(6)), path, y, key, 100))
  )(jnp.asarray(levels, jnp.float32), keys)
  assert bits.mean() == pytest.approx(entropy, abs=0.05)
