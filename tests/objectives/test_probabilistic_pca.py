"""Probabilistic PCA against the eigenvalues of the covariance, scipy and Bayes' rule."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.objectives.base import Objective
from jaxgen.objectives.linear.probabilistic_pca import complete, probabilistic_pca
from tests.examples import draw, example, examples, on_one_device

SHAPE, COUNT, D, Q = (2, 3, 1), 600, 6, 2
RNG = np.random.default_rng(0)
TURN, _ = np.linalg.qr(RNG.normal(size=(D, D)))
MEAN = np.array([0.1, -0.2, 0.0, 0.2, -0.1, 0.1])
DATA = MEAN + RNG.normal(size=(COUNT, D)) * [0.25, 0.2, 0.06, 0.05, 0.04, 0.03] @ TURN.T
SPECTRUM, AXES = np.linalg.eigh(np.cov(DATA.T, bias=True))
LEADING, OTHERS = SPECTRUM[: -Q - 1 : -1], SPECTRUM[:-Q]
S2 = OTHERS.mean()
ML = (
  AXES[:, : -Q - 1 : -1] * (LEADING - S2) @ AXES[:, : -Q - 1 : -1].T
)  # W W^T, Tipping & Bishop, eq. 7
GIVEN = {
  'mean': MEAN,
  'weights': RNG.normal(size=(D, Q)) * 0.2,
  'variance': np.array(0.03),
}


def fitted(model: Objective, data: np.ndarray, updates: int, batch: int) -> tuple[Any, Any, list]:
  """Parameters, memory and log-density after updates on consecutive batches."""
  step = jax.jit(on_one_device(model))
  params, memory = model.init(jax.random.key(0))
  found = []
  for i in range(updates):
    rows = np.arange(i * batch, (i + 1) * batch) % len(data)
    keys = jax.random.split(jax.random.key(0), batch)
    params, memory, metrics = step(
      params, memory, examples(data[rows].reshape(-1, *SHAPE)), keys, i
    )
    found.append(float(metrics['log_density_nats']))
  return params, memory, found


def given() -> Any:
  return complete(*(jnp.asarray(leaf, jnp.float32) for leaf in GIVEN.values()))


@pytest.fixture(scope='module')
def by_em() -> tuple[Any, Any, list]:
  return fitted(probabilistic_pca(SHAPE, Q, floor=1e-6), DATA, 60, COUNT)


def test_em_climbs_to_the_eigenvalue_solution(by_em: tuple[Any, Any, list]) -> None:
  """And to its log-likelihood, in which only eigenvalues enter (eq. 7 and 8)."""
  params, _, found = by_em
  weights = np.asarray(params['weights'], np.float64)
  np.testing.assert_allclose(weights @ weights.T, ML, atol=2e-4 * LEADING[0])
  np.testing.assert_allclose(params['variance'], S2, rtol=1e-3)
  np.testing.assert_allclose(params['mean'], DATA.mean(0), atol=1e-6)
  expected = -0.5 * (D * np.log(2 * np.pi) + np.log(LEADING).sum() + (D - Q) * np.log(S2) + D)
  assert found[-1] == pytest.approx(expected, abs=2e-4)
  assert np.diff(found).min() > -1e-5  # the log-likelihood never falls
  assert found[-1] > found[0] + 1.0


def test_one_update_is_that_of_the_paper_with_the_codes_own_covariance() -> None:
  """W' = S W (s2 I + M^-1 W^T S W)^-1 and s2' = tr(S - S W M^-1 W'^T) / d (eq. 29 and 30).

  Images then have the covariance W' E[z z^T] W'^T, which is W W^T of codes of covariance I.
  """
  objective = probabilistic_pca(SHAPE, Q, floor=1e-6)
  start = {**GIVEN, 'mean': DATA.mean(0)}
  params = complete(*(jnp.asarray(leaf, jnp.float32) for leaf in start.values()))
  _, memory = objective.init(jax.random.key(0))
  keys = jax.random.split(jax.random.key(0), COUNT)
  given = examples(DATA.reshape(-1, *SHAPE))
  params, _, _ = jax.jit(on_one_device(objective))(params, memory, given, keys, 1)
  s, w, s2 = np.cov(DATA.T, bias=True), GIVEN['weights'], GIVEN['variance']
  m = np.linalg.inv(w.T @ w + s2 * np.eye(Q))
  new = s @ w @ np.linalg.inv(s2 * np.eye(Q) + m @ w.T @ s @ w)
  codes = s2 * m + m @ w.T @ s @ w @ m
  weights = np.asarray(params['weights'], np.float64)
  np.testing.assert_allclose(weights @ weights.T, new @ codes @ new.T, rtol=1e-3, atol=1e-6)
  expected = np.trace(s - s @ w @ m @ new.T) / D
  np.testing.assert_allclose(params['variance'], expected, rtol=1e-3)


def test_log_density_is_scipys() -> None:
  model, x = probabilistic_pca(SHAPE, Q), DATA[0]
  found = model.evaluate(given(), example(x.reshape(SHAPE)), jax.random.key(0))
  covariance = GIVEN['weights'] @ GIVEN['weights'].T + GIVEN['variance'] * np.eye(D)
  expected = stats.multivariate_normal(MEAN, covariance).logpdf(x)
  assert found == {'log_density_nats': pytest.approx(expected, rel=1e-5)}


def test_codes_are_posterior_means_by_bayes_rule() -> None:
  """E[z | x] = Cov(z, x) Cov(x)^-1 (x - mu) of jointly Gaussian z and x."""
  model, x, w = probabilistic_pca(SHAPE, Q), DATA[1], GIVEN['weights']
  covariance = w @ w.T + GIVEN['variance'] * np.eye(D)
  code = model.encode(given(), jnp.float32(x).reshape(SHAPE), jax.random.key(0))
  expected = w.T @ np.linalg.solve(covariance, x - MEAN)
  np.testing.assert_allclose(code, expected, rtol=1e-4, atol=1e-5)
  decoded = model.decode(given(), jnp.float32(expected), jax.random.key(0))
  np.testing.assert_allclose(decoded.ravel(), w @ expected + MEAN, rtol=1e-4, atol=1e-6)


def test_samples_have_the_moments_of_the_model(by_em: tuple[Any, Any, list]) -> None:
  model = probabilistic_pca(SHAPE, Q)
  drawn = draw(model, by_em[0], jax.random.split(jax.random.key(1), 20_000)).reshape(-1, D)
  np.testing.assert_allclose(drawn.mean(0), DATA.mean(0), atol=0.01)
  np.testing.assert_allclose(np.cov(drawn.T), ML + S2 * np.eye(D), atol=0.0025)
  wide = complete(jnp.zeros(D), jnp.zeros((D, Q)), jnp.float32(4.0))
  pixels = draw(model, wide, jax.random.split(jax.random.key(2), 4000))
  for edge in (-1.0, 1.0):  # beyond which lies what a Gaussian of deviation 2 has there
    assert np.mean(pixels == edge) == pytest.approx(stats.norm.cdf(-0.5), abs=0.02)


def test_small_batches_come_to_what_all_images_together_do() -> None:
  """Statistics of batch t enter with weight (t + 1)^-a: the mean by hand, the rest nearly."""
  model = probabilistic_pca(SHAPE, Q, floor=1e-6, forgetting=0.7)
  params, _, _ = fitted(model, DATA, 120, 100)
  expected = np.zeros(D)
  for t in range(120):
    batch = DATA[np.arange(t * 100, (t + 1) * 100) % COUNT]
    expected += (t + 1) ** -0.7 * (batch.mean(0) - expected)
  np.testing.assert_allclose(params['mean'], expected, atol=1e-5)
  weights = np.asarray(params['weights'], np.float64)
  np.testing.assert_allclose(weights @ weights.T, ML, atol=0.1 * LEADING[0])
  np.testing.assert_allclose(params['variance'], S2, rtol=0.05)


def test_the_floor_holds_where_codes_explain_all() -> None:
  """Data on a line: the variance along it is the line's, and the floor in every other direction."""
  direction = TURN[:, 0]
  line = RNG.normal(size=(COUNT, 1)) * 0.3 * direction
  params, _, found = fitted(probabilistic_pca(SHAPE, Q, floor=0.01), line, 60, COUNT)
  weights = np.asarray(params['weights'], np.float64)
  expected = ((line @ direction).var() - 0.01) * np.outer(direction, direction)
  np.testing.assert_allclose(weights @ weights.T, expected, atol=2e-3)
  assert params['variance'] == pytest.approx(0.01)
  assert np.isfinite(found).all()


def test_a_batch_of_one_image_is_a_guess_that_can_be_gone_on_from() -> None:
  """Its variance is 0, under which the density would be infinite."""
  same = np.tile(DATA[:1], (50, 1))
  params, _, found = fitted(probabilistic_pca(SHAPE, Q, floor=0.01), same, 2, 50)
  assert params['variance'] == pytest.approx(0.01)
  assert np.isfinite(found).all()
  np.testing.assert_allclose(params['mean'], DATA[0], atol=1e-6)


def test_figure_goes_along_the_principal_axes(by_em: tuple[Any, Any, list]) -> None:
  """By two deviations sqrt(l_i - s2) of the code's part of the leading axes, in their order."""
  model, few = probabilistic_pca(SHAPE, Q), examples(DATA[:3].reshape(-1, *SHAPE))
  pictures = model.figures['axes'](by_em[0], few, jax.random.key(0)).reshape(Q, 5, D)
  np.testing.assert_allclose(pictures[:, 2], np.tile(DATA.mean(0), (Q, 1)), atol=1e-6)
  away = np.asarray(pictures[:, 4] - pictures[:, 2], np.float64)
  expected = 2 * AXES[:, : -Q - 1 : -1].T * np.sqrt(LEADING - S2)[:, None]
  signs = np.sign((away * expected).sum(1, keepdims=True))
  np.testing.assert_allclose(signs * away, expected, atol=0.01)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('latent', 0, 'objective.latent=0 must be at least 1'),
    ('latent', 6, 'objective.latent=6 must be .* below the 6 numbers of an image'),
    ('floor', 0.0, 'objective.floor=0.0 must be above 0'),
    ('forgetting', 1.5, 'objective.forgetting=1.5 in'),
  ],
)
def test_hyperparameters_that_cannot_be(field: str, value: Any, message: str) -> None:
  with pytest.raises(ValueError, match=message):
    probabilistic_pca(SHAPE, **({'latent': 2} | {field: value}))
