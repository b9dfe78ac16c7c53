"""Expectation-maximisation against scikit-learn, and against what it must never do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

from jaxgen.objectives.base import Objective
from jaxgen.objectives.linear.gaussian_mixture import gaussian_mixture, log_joint, maximise
from tests.examples import draw, examples, on_one_device

SHAPE, COUNT = (2, 2, 1), 400
RNG = np.random.default_rng(0)
CENTRES = np.array([[0.5, 0.5, -0.5, -0.5], [-0.5, 0.4, 0.5, -0.4], [0.0, -0.6, 0.0, 0.6]])
SPREADS = RNG.normal(size=(3, 4, 4)) * 0.15
CHOICE = RNG.integers(0, 3, COUNT)
DATA = CENTRES[CHOICE] + np.einsum('nij,nj->ni', SPREADS[CHOICE], RNG.normal(size=(COUNT, 4)))


def fitted(model: Objective, data: np.ndarray, updates: int, batch: int) -> tuple[Any, Any, list]:
  """Parameters, memory and log-density after updates on consecutive batches."""
  step = jax.jit(on_one_device(model))
  params, memory = model.init(jax.random.key(0))
  found = []
  for i in range(updates):
    rows = np.arange(i * batch, (i + 1) * batch) % len(data)
    keys = jax.random.split(jax.random.key(0), batch)
    given = examples(data[rows].reshape(-1, *SHAPE))
    params, memory, metrics = step(params, memory, given, keys, i)
    found.append(float(metrics['log_density_nats']))
  return params, memory, found


@pytest.mark.parametrize('covariance', ['full', 'diagonal'])
def test_agrees_with_scikit_learn(covariance: str) -> None:
  """From the same start: the first images, equal weights, the variance of each pixel."""
  updates, floor = 3, 1e-6
  params, _, found = fitted(gaussian_mixture(SHAPE, 3, covariance, floor), DATA, updates, COUNT)
  precision = 1 / DATA.var(0)
  theirs = GaussianMixture(
    3,
    covariance_type={'full': 'full', 'diagonal': 'diag'}[covariance],
    max_iter=updates,
    tol=0.0,
    reg_covar=0.0,
    weights_init=np.full(3, 1 / 3),
    means_init=DATA[:3],
    precisions_init=np.stack([np.diag(precision) if covariance == 'full' else precision] * 3),
  )
  with pytest.warns(match='did not converge'):
    theirs.fit(DATA)
  np.testing.assert_allclose(np.exp(params['log_weights']), theirs.weights_, atol=1e-4)
  np.testing.assert_allclose(params['means'], theirs.means_, atol=1e-3)
  roots = np.asarray(params['roots'], np.float64)
  covariances = roots @ roots.swapaxes(1, 2) if covariance == 'full' else roots**2
  np.testing.assert_allclose(covariances, theirs.covariances_, atol=1e-3)
  joint = jax.vmap(lambda x: log_joint(params, x))(jnp.asarray(DATA, jnp.float32))
  density = jax.scipy.special.logsumexp(joint, axis=1)
  np.testing.assert_allclose(density, theirs.score_samples(DATA), atol=2e-3)
  assert np.diff(found).min() > -1e-5  # the log-likelihood never falls
  assert found[-1] > found[0] + 0.5


def test_log_density_of_components_is_scipys() -> None:
  covariance = np.eye(4) * 0.3 + 0.1
  seen = {
    'zeroth': jnp.array([0.25, 0.75]),
    'first': jnp.asarray(CENTRES[:2] * [[0.25], [0.75]], jnp.float32),
    'second': jnp.asarray(
      [
        weight * (covariance + np.outer(mean, mean))
        for weight, mean in zip((0.25, 0.75), CENTRES, strict=False)
      ],
      jnp.float32,
    ),
  }
  params, x = maximise(seen, 1e-6), RNG.normal(size=4)
  expected = [
    np.log(weight) + stats.multivariate_normal(mean, covariance).logpdf(x)
    for weight, mean in zip((0.25, 0.75), CENTRES, strict=False)
  ]
  np.testing.assert_allclose(log_joint(params, jnp.asarray(x, jnp.float32)), expected, rtol=1e-4)


def test_the_floor_is_the_smallest_variance_along_any_axis() -> None:
  """Data on a line, not along a pixel: one large variance, three at the floor."""
  direction = np.array([1.0, 1.0, -1.0, 1.0]) / 2
  line = RNG.normal(size=(COUNT, 1)) * direction
  params, _, found = fitted(gaussian_mixture(SHAPE, 1, 'full', 0.01), line, 2, COUNT)
  root = np.asarray(params['roots'][0], np.float64)
  expected = 0.01 * np.eye(4) + (line @ direction).var() * np.outer(direction, direction)
  expected -= 0.01 * np.outer(direction, direction)
  np.testing.assert_allclose(root @ root.T, expected, atol=1e-4)
  assert np.isfinite(found).all()


def test_small_batches_come_to_what_all_images_together_do() -> None:
  """Statistics of batch t enter with weight (t + 1)^-a: by hand, and near EM in the end."""
  model = gaussian_mixture(SHAPE, 1, 'full', 1e-6, forgetting=0.7)
  params, memory, _ = fitted(model, DATA, 16, 100)
  expected = np.zeros(4)
  for t in range(16):
    batch = DATA[np.arange(t * 100, (t + 1) * 100) % COUNT]
    expected += (t + 1) ** -0.7 * (batch.mean(0) - expected)
  np.testing.assert_allclose(memory['first'][0], expected, atol=1e-5)
  np.testing.assert_allclose(params['means'][0], DATA.mean(0), atol=0.03)


def test_a_component_without_images_spoils_nothing() -> None:
  """Two first images are the same, and a third component has nothing that is nearest to it."""
  twins = np.concatenate([DATA[:1], DATA[:1], DATA])
  params, _, found = fitted(gaussian_mixture(SHAPE, 3, 'full', 1e-3), twins, 30, len(twins))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
  assert np.isfinite(found).all()


@pytest.mark.parametrize('covariance', ['full', 'diagonal'])
def test_samples_have_the_moments_of_the_mixture(covariance: str) -> None:
  model = gaussian_mixture(SHAPE, 3, covariance, 1e-6)
  params, _, _ = fitted(model, DATA, 30, COUNT)
  drawn = draw(model, params, jax.random.split(jax.random.key(1), 20_000)).reshape(-1, 4)
  np.testing.assert_allclose(drawn.mean(0), DATA.mean(0), atol=0.02)
  spread = np.cov(drawn.T) if covariance == 'full' else drawn.var(0)
  expected = np.cov(DATA.T) if covariance == 'full' else DATA.var(0)
  np.testing.assert_allclose(spread, expected, atol=0.02)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('covariance', 'tied', "objective.covariance='tied'; choose full or diagonal"),
    ('components', 0, 'objective.components=0 must be at least 1'),
    ('floor', 0.0, 'objective.floor=0.0 above 0'),
    ('forgetting', 1.5, 'objective.forgetting=1.5 in'),
  ],
)
def test_hyperparameters_that_cannot_be(field: str, value: Any, message: str) -> None:
  with pytest.raises(ValueError, match=message):
    gaussian_mixture(SHAPE, **({'components': 2} | {field: value}))
