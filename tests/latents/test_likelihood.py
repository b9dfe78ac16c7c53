"""log p(x) by importance and annealed importance sampling, where it is known."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from scipy import stats

import jaxgen
from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.fields import flatten
from jaxgen.latents.annealing import annealed_importance
from jaxgen.latents.likelihood import importance, joint_of, with_noise
from jaxgen.main import main
from jaxgen.networks import mlp
from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.linear.probabilistic_pca import complete, log_density, probabilistic_pca
from jaxgen.objectives.variational import bounds
from jaxgen.objectives.variational.autoencoder import autoencoder
from tests.examples import EXPERIMENTS, TINY, example, facts
from tests.latents.test_explore import train

SHAPE, D, Q = (2, 2, 1), 4, 2
RNG = np.random.default_rng(0)
W, MU, X = RNG.normal(size=(D, Q)), RNG.normal(size=D), RNG.normal(size=D)
IMAGE = jnp.float32(X).reshape(SHAPE)
KEY = jax.random.key(0)


def test_weights_under_the_exact_posterior_are_all_alike() -> None:
  objective, params = probabilistic_pca(SHAPE, Q), complete(*map(jnp.float32, (MU, W, 0.3)))

  @jax.jit
  def found(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    draw = objective.joint.posterior(params, IMAGE, key)
    return importance(lambda z: objective.joint.log_likelihood(params, IMAGE, z), draw, key, 200)

  bound, effective = found(KEY)
  assert bound == pytest.approx(float(log_density(params, IMAGE.ravel())), abs=1e-3)
  assert effective == pytest.approx(200, rel=1e-3)


def test_importance_sampling_from_a_wide_gaussian_agrees_within_its_error() -> None:
  objective, params = probabilistic_pca(SHAPE, Q), complete(*map(jnp.float32, (MU, W, 0.3)))
  draw = bounds.drawing(jnp.zeros(Q), jnp.full(Q, 0.5))

  @jax.jit
  def found(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    return importance(lambda z: objective.joint.log_likelihood(params, IMAGE, z), draw, key, 5000)

  bound, effective = found(KEY)
  assert 50.0 < effective < 4000.0
  error = np.sqrt(1.0 / float(effective) - 1.0 / 5000.0)
  assert abs(float(bound) - float(log_density(params, IMAGE.ravel()))) < 4.0 * error < 0.4


@pytest.mark.parametrize(
  'name', ['vae', 'flow_posterior', 'non_amortized', 'probabilistic_pca', 'iwae']
)
def test_every_posterior_is_a_density(name: str) -> None:
  """Where a likelihood makes p(x, z) a narrow Gaussian of z, p(x) is 1, if q is what it says."""
  path = next(path for path in EXPERIMENTS if path.stem == name)
  config = configuration.execute(str(path))
  known = dict(flatten(config.to_dict()))
  config.update_from_flattened_dict({field: v for field, v in TINY.items() if field in known})
  objective = objectives.find_objective(config, facts((4, 4, 1)))
  params, _ = objective.init(KEY)
  image = example(RNG.uniform(-1.0, 1.0, (4, 4, 1))).image

  @jax.jit
  def found(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    draw = objective.joint.posterior(params, image, key)
    z, _ = jax.vmap(draw)(jax.random.split(key, 500))
    mean, log_variance, zeros = z.mean(0), jnp.log(z.var(0) / 3.0), jnp.zeros(z.shape[1])

    def log_p(z: jax.Array) -> jax.Array:
      return log_normal(z, mean, log_variance) - log_normal(z, zeros, zeros)

    return importance(log_p, draw, key, 2000)

  bound, effective = found(KEY)
  assert abs(float(bound)) < 4.0 / np.sqrt(float(effective)) < 0.3
  z = jnp.zeros(config.objective.latent)
  assert np.isfinite(objective.joint.log_likelihood(params, image, z))


def test_a_decoder_with_noise_under_the_prior_of_its_codes() -> None:
  """A linear autoencoder's, whose codes are no N(0, I): its images are Gaussian, and known."""
  networks = mlp.Encoder(Q, ()), mlp.Decoder(SHAPE, ())
  objective = autoencoder(*networks, optax.sgd(0.0), SHAPE, Q)
  params, _ = objective.init(KEY)
  mean, spread = np.array([1.0, -2.0]), np.array([[1.5, 0.4], [0.4, 0.5]])
  params['codes'] = {
    'first': jnp.float32(mean),
    'second': jnp.float32(spread + np.outer(mean, mean)),
  }
  dense = {'kernel': jnp.float32(W.T), 'bias': jnp.float32(MU)}
  params['networks']['decoder'] = {'params': {'Dense_0': dense}}
  joint = with_noise(objective, 0.5)
  assert joint.measure == 'gaussian_noise_0.5'
  law = stats.multivariate_normal(MU + W @ mean, W @ spread @ W.T + 0.25 * np.eye(D))

  @jax.jit
  def found(key: jax.Array) -> jax.Array:
    log_p = lambda z: joint.log_likelihood(params, IMAGE, z)  # noqa: E731
    return annealed_importance(log_p, (Q,), key, temperatures=100, chains=32)[0]

  assert float(found(KEY)) == pytest.approx(law.logpdf(X), abs=0.2)


@pytest.mark.slow
def test_estimates_of_a_trained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
  """Of probabilistic PCA, which knows its own, image by image."""
  named = train('probabilistic_pca', tmp_path, 'batch_size=1200', 'objective.latent=2')
  arguments = ['--mode=likelihood', *named, '--num_images=12', '--temperatures=60']
  assert main(arguments) == 0
  said = capsys.readouterr().out
  record = json.loads((tmp_path / 'likelihood.json').read_text())
  model, test = jaxgen.load(tmp_path), jaxgen.data('digits').test
  images = jnp.float32(test.images[np.array(record['rows'])]) / 127.5 - 1.0
  exact = jax.vmap(lambda x: log_density(model.params, x.ravel()))(images)
  by_weights = record['of_each']['importance_weighted_5000_gaussian_density_nats']
  np.testing.assert_allclose(by_weights, exact, atol=0.01)
  annealed = record['of_each']['annealed_60x16_gaussian_density_nats']
  np.testing.assert_allclose(annealed, exact, atol=1.0)
  assert abs(np.mean(annealed) - np.mean(exact)) < 0.3
  mean = record['means']['importance_weighted_5000_gaussian_density_nats']
  assert mean['mean'] == pytest.approx(float(np.mean(exact)), abs=0.01)
  assert f'{mean["mean"]:.3f} ± {mean["standard_error"]:.3f}' in said
  gap = record['means']['annealed_gap_of_20_simulated_nats']
  assert -4.0 * gap['standard_error'] < gap['mean'] < 1.0
  for wrong, sentence in (
    (['--noise=0.1'], "--noise=0.1 has no effect on 'probabilistic_pca'"),
    (['--temperatures=0'], '--temperatures=0 must be positive'),
  ):
    assert main([*arguments, *wrong]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
  ('fields', 'noise', 'sentence'),
  [
    ({'decode': print}, None, 'as in --noise=0.1'),
    ({'decode': print}, -1.0, 'as in --noise=0.1'),
    ({'decode': print}, float('inf'), 'as in --noise=0.1'),
    ({'decode': print, 'of_noise': False}, 0.1, 'are no noise'),
    ({}, 0.1, 'cannot decode'),
  ],
)
def test_what_has_no_likelihood_is_refused(
  fields: dict[str, Any], noise: float | None, sentence: str
) -> None:
  objective = SimpleNamespace(**({'joint': None, 'decode': None, 'of_noise': True} | fields))
  config = ml_collections.ConfigDict({'objective': {'name': 'gan'}})
  with pytest.raises(UserError, match=sentence):
    joint_of(SimpleNamespace(objective=objective, config=config), noise)
