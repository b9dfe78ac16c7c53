"""Layers of a code against the VAE, and against a linear model whose likelihood is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.networks import mlp
from jaxgen.objectives.base import Objective
from jaxgen.objectives.variational import vae
from jaxgen.objectives.variational.hierarchical import hierarchical, layer_kl
from jaxgen.objectives.variational.ladder import vector_ladder
from jaxgen.objectives.variational.likelihoods import find_likelihood, observation_model
from tests.examples import draw, example, examples, on_one_device

RNG = np.random.default_rng(0)
SHAPE = (3, 1, 1)
X = np.array([0.8, -0.5, 0.4])
KEYS = jax.random.split(jax.random.key(1), 2000)
# z_1 ~ N(0, 1), z_2 ~ N(A z_1 + C, S^2), x ~ N(W z + B, NOISE^2)
A, C, S, NOISE = 0.8, 0.3, 0.6, 0.7
W, B = np.array([[0.4, 1.0], [0.0, 1.0], [-0.3, -0.5]]), np.array([0.1, -0.2, 0.3])
MEAN, COVARIANCE = np.array([0.0, C]), np.array([[1.0, A], [A, A**2 + S**2]])
OF_X = W @ COVARIANCE @ W.T + NOISE**2 * np.eye(3)
LOG_P = stats.multivariate_normal(W @ MEAN + B, OF_X).logpdf(X)


def dense(kernel: Any, bias: Any) -> dict[str, Any]:
  leaf = {'kernel': jnp.asarray(kernel, jnp.float32), 'bias': jnp.asarray(bias, jnp.float32)}
  return {'params': {'Dense_0': leaf}}


def linear(latent: int = 1, layers: int = 2, **fields: Any) -> Objective:
  """Whose networks are all linear maps."""
  return hierarchical(
    mlp.Encoder(3, ()),
    vector_ladder(mlp.Encoder(2 * latent, ()), latent, layers),
    observation_model(mlp.Decoder(SHAPE, ()), find_likelihood('gaussian'), 2 * np.log(NOISE)),
    optax.sgd(0.0),
    SHAPE,
    **fields,
  )


def exact(shift: float = 0.0) -> tuple[dict[str, Any], float]:
  """Parameters of the linear model with its posterior, the top's mean shifted; and its variance.

  Given x and the layers above, each layer is a Gaussian whose mean is linear in them.
  """
  precision = np.linalg.inv(COVARIANCE) + W.T @ W / NOISE**2
  posterior = np.linalg.inv(precision)
  to_mean = posterior @ W.T / NOISE**2
  mean = posterior @ np.linalg.solve(COVARIANCE, MEAN) - to_mean @ B
  variance, slope = posterior[0, 0], posterior[1, 0] / posterior[0, 0]
  below = (to_mean[1] - slope * to_mean[0]) / S, (slope - A) / S  # what e_2 has of x and of z_1
  offset = (mean[1] - slope * mean[0] - C) / S
  spread = np.log(posterior[1, 1] - slope * posterior[1, 0]) - 2 * np.log(S)
  steps = {
    'posterior_1': dense([[w, 0.0] for w in to_mean[0]], [mean[0] + shift, np.log(variance)]),
    'posterior_2': dense([[w, 0.0] for w in (*below[0], below[1])], [offset, spread]),
    'prior_2': dense([[A, 0.0]], [C, 2 * np.log(S)]),
  }
  networks = {'encoder': dense(np.eye(3), np.zeros(3)), 'decoder': dense(W.T, B)}
  return networks | {'ladder': steps}, variance


@pytest.mark.parametrize('shift', [0.0, 0.3])
def test_bound_with_the_exact_posterior_is_the_likelihood(shift: float) -> None:
  """By every sample's weight; a shift of the top's mean costs its KL, shift^2 / 2 variance."""
  params, variance = exact(shift)
  evaluate = jax.jit(jax.vmap(linear(importance_samples=3).evaluate, in_axes=(None, None, 0)))
  found = evaluate(params, example(X.reshape(SHAPE)), KEYS)
  elbo = np.asarray(found['elbo_gaussian_density_nats'])
  expected = LOG_P - shift**2 / (2 * variance)
  assert elbo.mean() == pytest.approx(expected, abs=5 * elbo.std() / np.sqrt(len(KEYS)))
  if not shift:
    weighted = found['importance_weighted_3_gaussian_density_nats']
    np.testing.assert_allclose(weighted, LOG_P, rtol=1e-5)


def test_its_likelihood_and_posterior_are_for_everybody() -> None:
  """As `--mode=likelihood` has them: by the exact posterior every weight is p(x)."""
  params, joint = exact()[0], linear().joint
  image = jnp.float32(X.reshape(SHAPE))

  def weight(key: jax.Array) -> jax.Array:
    code, log_q = joint.posterior(params, image, key)(key)
    log_prior = jnp.sum(jax.scipy.stats.norm.logpdf(code))
    return joint.log_likelihood(params, image, code) + log_prior - log_q

  np.testing.assert_allclose(jax.vmap(weight)(KEYS[:50]), LOG_P, rtol=1e-4)
  codes = jax.random.normal(jax.random.key(5), (len(KEYS), 2))
  x = jax.vmap(joint.draw, (None, 0, 0))(params, codes, KEYS).reshape(-1, 3)
  np.testing.assert_allclose(np.cov(x.T), OF_X, atol=0.15)


def test_samples_have_the_moments_of_the_model() -> None:
  keys = jax.random.split(jax.random.key(4), 20_000)
  x = draw(linear(), exact()[0], keys).reshape(-1, 3)
  np.testing.assert_allclose(x.mean(0), W @ MEAN + B, atol=0.05)
  np.testing.assert_allclose(np.cov(x.T), W @ COVARIANCE @ W.T, atol=0.05)


@pytest.mark.slow
def test_one_layer_is_the_vae() -> None:
  """With one matrix for the two that the features go through; all numbers are the same."""
  observed = observation_model(mlp.Decoder(SHAPE, (5,)), find_likelihood('bernoulli'))
  rest = observed, optax.sgd(0.0), SHAPE
  one_layer = vector_ladder(mlp.Encoder(4, ()), latent=2, layers=1)
  one = hierarchical(mlp.Encoder(4, (5,)), one_layer, *rest, beta=0.7)
  plain = vae.vae(mlp.Encoder(4, (5,)), *rest, 2, beta=0.7)
  params, memory = one.init(jax.random.key(2))
  last, step = params['encoder']['params']['Dense_1'], params['ladder']['posterior_1']
  step = step['params']['Dense_0']
  last = {'kernel': last['kernel'] @ step['kernel'], 'bias': last['bias'] @ step['kernel']}
  encoder = {'params': {'Dense_0': params['encoder']['params']['Dense_0'], 'Dense_1': last}}
  merged = {'encoder': encoder, 'decoder': params['decoder']}
  batch = examples(RNG.uniform(-1.0, 1.0, (20, *SHAPE)))

  def numbers(model: Objective, params: Any, memory: Any) -> dict[str, jax.Array]:
    trained = jax.jit(on_one_device(model))(params, memory, batch, KEYS[:20])[2]
    seen = jax.jit(jax.vmap(model.evaluate, in_axes=(None, 0, 0)))(params, batch, KEYS[:20])
    code = jax.vmap(lambda image: model.encode(params, image, KEYS[0]))(batch.image)
    return {f'training {n}': v for n, v in trained.items() if 'norm' not in n} | seen | {'e': code}

  found = numbers(one, params, memory)
  for name, value in numbers(plain, merged, plain.init(KEYS[0])[1]).items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_layers_differ_from_their_priors_by_their_kl() -> None:
  """Of N(m + s dm, (s ds)^2) from N(m, s^2), layer by layer; and their sum is the whole KL."""
  block, latent, layers = mlp.Encoder(4, (6,)), 2, 3
  steps = vector_ladder(block, latent, layers)
  features = jnp.asarray(RNG.normal(size=5), jnp.float32)
  params = jax.jit(steps.init)(features, jax.random.key(3))
  z, e, dm, log_square = jax.jit(steps.infer)(
    params, features, jnp.asarray(RNG.normal(size=6), jnp.float32)
  )
  np.testing.assert_allclose(steps.generate(params, e), z, rtol=1e-6)
  found, total = layer_kl(steps, dm, log_square), 0.0
  e, dm, log_square = (np.reshape(array, (layers, latent)) for array in (e, dm, log_square))
  for layer in range(layers):
    above, here = z[: latent * layer], z[latent * layer : latent * (layer + 1)]
    prior = block.apply(params[f'prior_{layer + 1}'], above) if layer else jnp.zeros(4)
    m, s = np.asarray(prior[:2], float), np.exp(np.asarray(prior[2:], float) / 2)
    mean, deviation = m + s * np.asarray(dm[layer]), s * np.exp(np.asarray(log_square[layer]) / 2)
    np.testing.assert_allclose(here, m + s * np.asarray(e[layer]), rtol=1e-4, atol=1e-6)
    kl = np.log(s / deviation) + (deviation**2 + (mean - m) ** 2) / (2 * s**2) - 0.5
    assert found[f'layer_{layer + 1}/kl_nats'] == pytest.approx(kl.sum(), rel=1e-4)
    total += kl.sum()
  model = linear(latent=2, layers=3, importance_samples=2)
  params, memory = jax.jit(model.init)(jax.random.key(5))
  batch = examples(RNG.normal(size=(4, *SHAPE)))
  for metrics in (
    jax.jit(on_one_device(model))(params, memory, batch, KEYS[:4])[2],
    jax.jit(model.evaluate)(params, example(X.reshape(SHAPE)), KEYS[0]),
  ):
    parts = [metrics[f'layer_{layer}/kl_nats'] for layer in (1, 2, 3)]
    assert min(parts) > 0.0
    assert sum(parts) == pytest.approx(float(metrics['kl_nats']), rel=1e-5)


def test_free_bits_cost_nothing_in_any_layer() -> None:
  """Where each of 3 x 2 dimensions is below 50 nats, all cost 50, by a beta that has half risen."""
  model = linear(latent=2, layers=3, free_bits=50.0, beta=0.4, warm_up_steps=10)
  params, memory = jax.jit(model.init)(jax.random.key(5))
  batch = examples(RNG.normal(size=(4, *SHAPE)))
  metrics = jax.jit(on_one_device(model))(params, memory, batch, KEYS[:4], 5)[2]
  reconstruction = metrics['reconstruction_gaussian_density_nats']
  assert metrics['loss'] == pytest.approx(float(reconstruction) + 0.2 * 300.0, rel=1e-6)


def test_a_layer_that_has_collapsed_is_said_in_words() -> None:
  model, (params, _) = linear(), exact()
  params['ladder']['posterior_2'] = dense(np.zeros((4, 2)), np.zeros(2))
  found = jax.jit(model.diagnose)(params, examples(RNG.normal(size=(50, *SHAPE))), KEYS[0])
  assert {name: float(value) for name, value in found.items()} == {
    'layer_1/active_units': 1, 'layer_1/collapsed': 0,
    'layer_2/active_units': 0, 'layer_2/collapsed': 1,
  }  # fmt: skip
  (sentence,) = model.warn(0, found)
  assert sentence.startswith('layer_2: the posterior has collapsed')


def test_depths_add_what_the_next_layer_says() -> None:
  """The top alone leaves z_2 where it is expected; with both layers, the reconstruction."""
  params, _ = exact()
  batch = examples(RNG.normal(size=(3, *SHAPE)))
  pictures = linear().figures['by_depth'](params, batch, KEYS[0]).reshape(3, 3, 3)
  top = jax.vmap(lambda image: linear().encode(params, image, KEYS[0]))(batch.image)[:, :1]
  expected = np.concatenate([top, A * top + C], axis=1) @ W.T + B
  np.testing.assert_allclose(pictures[:, 1], expected, rtol=1e-4, atol=1e-5)
  shown = linear().figures['reconstructions'](params, batch, KEYS[0]).reshape(3, 2, 3)
  np.testing.assert_allclose(pictures[:, [0, 2]], shown, rtol=1e-5)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'layers': 0}, r'objective\.layers=0 must be at least 1'),
    ({'free_bits': -1.0}, r'objective\.free_bits=-1\.0 must not be negative'),
  ],
)
def test_hyperparameters_that_do_not_go_together(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    linear(**fields)
