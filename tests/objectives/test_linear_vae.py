"""A VAE of linear maps at its optimum, which is that of probabilistic PCA (Lucas et al. 2019).

Of data whose covariance has the eigenvalues l_i, a dimension with the weight beta has a column of
norm^2 l_i - beta s^2 in the decoder and a KL of log(l_i / (beta s^2)) / 2, or none of either where
l_i < beta s^2; the best variance is s^2 = sum_{i > k} l_i / (d - beta k), for k dimensions.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.networks import mlp
from jaxgen.objectives.base import Metrics, Objective
from jaxgen.objectives.variational import likelihoods, vae
from tests.examples import examples, facts, on_one_device

EXPERIMENTS = Path(__file__).parent.parent.parent / 'experiments'
EIGENVALUES = np.array([4.0, 2.0, 1.0, 0.5, 0.2, 0.1])
SHAPE = (6, 1, 1)
# Two images at equal distances along each axis: their covariance is the diagonal one.
IMAGES = np.concatenate([np.diag(np.sqrt(6 * EIGENVALUES)), -np.diag(np.sqrt(6 * EIGENVALUES))])
BATCH = examples(IMAGES.reshape(12, *SHAPE))
KEYS = jax.random.split(jax.random.key(1), 12)


def model(latent: int, learn_variance: bool = False, **fields: Any) -> Objective:
  """Whose update is a step of gradient descent with rate one."""
  log_variance = fields.pop('log_variance', 0.0)
  gaussian = likelihoods.find_likelihood('gaussian')
  return vae.vae(
    mlp.Encoder(2 * latent, ()),
    likelihoods.observation_model(mlp.Decoder(SHAPE, ()), gaussian, log_variance, learn_variance),
    optax.sgd(1.0),
    SHAPE,
    latent,
    **fields,
  )


def dense(kernel: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
  return {'params': {'Dense_0': {'kernel': jnp.float32(kernel), 'bias': jnp.float32(bias)}}}


def params_of(scales: np.ndarray, variance: float, beta: float = 1.0) -> dict[str, Any]:
  """A decoder with these multiples of the first axes as columns, and the best encoder for it.

  V = (W'W + beta s^2)^-1 W' and D = beta s^2 (W'W + beta s^2)^-1.
  """
  latent = len(scales)
  to_mean = np.eye(6)[:, :latent] * scales / (scales**2 + beta * variance)
  spread = np.log(beta * variance / (scales**2 + beta * variance))
  return {
    'encoder': dense(
      np.concatenate([to_mean, np.zeros((6, latent))], axis=1),
      np.concatenate([np.zeros(latent), spread]),
    ),
    'decoder': dense((np.eye(6)[:, :latent] * scales).T, np.zeros(6)),
  }


def update(objective: Objective, params: Any, step: int = 0) -> tuple[Any, Metrics]:
  """Parameters after one update on all images, and its metrics."""
  state = objective.init(jax.random.key(0))[1]
  moved, _, metrics = jax.jit(on_one_device(objective))(params, state, BATCH, KEYS, step)
  return moved, metrics


def test_bound_at_the_optimum_is_the_likelihood_of_probabilistic_pca() -> None:
  """-(d log 2 pi + sum_{i <= k} log l_i + (d - k) log s^2 + d) / 2, whatever the samples."""
  params = params_of(np.sqrt(EIGENVALUES[:2] - 0.45), 0.45)
  evaluate = model(2, log_variance=np.log(0.45), importance_samples=1).evaluate
  found = jax.jit(jax.vmap(evaluate, in_axes=(None, 0, 0)))(params, BATCH, KEYS)
  bound = found['importance_weighted_1_gaussian_density_nats']
  assert bound.mean() == pytest.approx(-7.95634, abs=2e-5)


@pytest.mark.parametrize(
  ('beta', 'latent', 'variance'),
  [
    pytest.param(1.0, 2, 0.45, marks=pytest.mark.slow),
    (1.5, 2, 0.6),
    pytest.param(2.0, 1, 0.95, marks=pytest.mark.slow),
  ],
)
def test_optimum_is_where_no_gradient_is_left(beta: float, latent: int, variance: float) -> None:
  """Neither in the networks nor in the variance, but for the noise of 12 x 2000 samples."""
  objective = model(
    latent, beta=beta, samples=2000, learn_variance=True, log_variance=np.log(variance)
  )
  kept = EIGENVALUES[:latent]
  norms = []
  for scale, width in ((1.0, 1.0), (0.8, 1.0), (1.0, 1.3)):
    params = params_of(scale * np.sqrt(kept - beta * variance), variance, beta)
    params['log_variance'] = jnp.float32(np.log(width * variance))
    metrics = update(objective, params)[1]
    norms.append(metrics['gradient_norm'])
    if scale == 1.0:
      expected = 0.5 * np.log(kept / (beta * variance)).sum()
      assert metrics['kl_nats'] == pytest.approx(expected, rel=1e-5)
  assert norms[0] < 0.1
  assert min(norms[1:]) > 3 * norms[0]


def test_dimensions_collapse_below_the_threshold() -> None:
  """A decoder that is small grows along the axes with l_i > beta s^2, and shrinks along others."""
  beta, variance, scale = 1.5, 0.45, 0.3
  objective = model(6, beta=beta, samples=2000, log_variance=np.log(variance))
  params = params_of(np.full(6, scale), variance, beta)
  moved, _ = update(objective, params)
  growth = np.diag(moved['decoder']['params']['Dense_0']['kernel']) - scale
  total = scale**2 + beta * variance  # the column's part of the model's variance along its axis
  np.testing.assert_allclose(growth, beta * scale * (EIGENVALUES - total) / total**2, atol=0.08)
  active = beta * variance < EIGENVALUES
  np.testing.assert_array_equal(growth > 0, active)


RISING = model(2, beta=2.0, warm_up_steps=10)


@pytest.mark.parametrize(('step', 'share'), [(0, 0.0), (3, 0.3), (10, 1.0), (500, 1.0)])
def test_divergence_is_warmed_up_over_updates(step: int, share: float) -> None:
  metrics = update(RISING, params_of(np.ones(2), 1.0), step)[1]
  reconstruction, kl = metrics['reconstruction_gaussian_density_nats'], metrics['kl_nats']
  np.testing.assert_allclose(metrics['loss'], reconstruction + 2.0 * share * kl, rtol=1e-5)
  assert kl > 0.1


def test_layers_bend_as_the_config_says() -> None:
  """By tanh: an odd function, so that without biases the encoder's output is odd too."""
  config = configuration.execute(str(EXPERIMENTS / 'iwae.py'))
  config.network.activation = 'tanh'
  config.network.hidden, config.objective.latent = (5,), 2
  objective = objectives.find_objective(config, facts(SHAPE))
  params, image = objective.init(jax.random.key(0))[0], BATCH.image[0]
  there, back = (objective.encode(params, x, jax.random.key(0)) for x in (image, -image))
  np.testing.assert_allclose(there, -back, rtol=1e-5)
  assert np.abs(there).min() > 1e-3
  config.network.activation = 'step'
  with pytest.raises(UserError, match=r"network\.activation='step'; choose one of relu"):
    objectives.find_objective(config, facts(SHAPE))


def test_importance_weighted_training_reports_its_bound() -> None:
  """Where q is the posterior the loss is -log p(x), for which the parts are too much."""
  scales = np.sqrt(EIGENVALUES[:2] - 0.45)
  fields = {'bound': 'importance_weighted', 'gradient': 'doubly_reparameterised', 'samples': 3}
  objective = model(2, log_variance=np.log(0.45), **fields)
  moved, metrics = update(objective, params_of(scales, 0.45))
  assert metrics['loss'] == pytest.approx(7.95634, abs=2e-5)
  still = params_of(scales, 0.45)['encoder']  # for which nothing is to be gained with any samples
  for a, b in zip(jax.tree.leaves(moved['encoder']), jax.tree.leaves(still), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
