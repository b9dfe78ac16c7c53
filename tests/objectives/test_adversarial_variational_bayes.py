"""An implicit posterior that is a Gaussian after all, whose divergence is known.

z = B h + A e of noise e ~ N(0, I) has the law N(B h, A A'), of which the objective sees samples.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.stats import multivariate_normal, norm

from jaxgen.networks import mlp
from jaxgen.objectives.base import Objective
from jaxgen.objectives.variational import adversarial_variational_bayes as avb
from jaxgen.objectives.variational.likelihoods import find_likelihood, observation_model
from tests.examples import example, examples, on_one_device

SHAPE, LATENT, NOISE = (3, 1, 1), 2, 0.7
A = np.array([[0.3, 0.0], [0.2, 0.15]])  # correlated, and far narrower than the prior
B = np.array([[0.9, -0.3, 0.2], [-0.4, 0.8, 0.1]])
W = np.array([[1.0, 0.5], [1.0, -0.5], [-0.5, 0.3]])
KEY = jax.random.key(0)
X = np.array([0.8, -0.5, 0.4])
GAUSSIAN, CLOSED = find_likelihood('gaussian'), np.log(NOISE) * 2
COVARIANCE = A @ A.T
DEVIATION = np.sqrt(np.diag(COVARIANCE))


def kl(shift: Any, scale: Any) -> jax.Array:
  """KL(N(B x + shift, scale scale') || N(0, I)) in nats."""
  mean, covariance = B @ X + shift, scale @ scale.T
  trace, determinant = jnp.trace(covariance), jnp.linalg.det(covariance)
  return 0.5 * (trace + mean @ mean - LATENT - jnp.log(determinant))


class Best(nn.Module):
  """T = log q - log r at what it sees of X, with r the prior, or the Gaussian of q's moments."""

  adaptive: bool

  @nn.compact
  def __call__(self, seen: jax.Array) -> jax.Array:
    y = seen[3 : 3 + LATENT]
    self.param('unused', nn.initializers.zeros, ())
    if self.adaptive:
      correlation = COVARIANCE / np.outer(DEVIATION, DEVIATION)
      log_q = multivariate_normal.logpdf(y, jnp.zeros(LATENT), jnp.asarray(correlation))
    else:
      log_q = multivariate_normal.logpdf(y, jnp.asarray(B @ X), jnp.asarray(COVARIANCE))
    return (log_q - norm.logpdf(y).sum())[None]


def model(discriminator: nn.Module, rate: float, judge_rate: Any, **fields: Any) -> Objective:
  """Of linear maps, with features that are the image."""
  return avb.adversarial_variational_bayes(
    mlp.Encoder(3, ()),
    mlp.Encoder(LATENT, ()),
    observation_model(mlp.Decoder(SHAPE, ()), GAUSSIAN, CLOSED),
    discriminator,
    optax.sgd(rate),
    judge_rate,
    SHAPE,
    LATENT,
    LATENT,
    **fields,
  )


def dense(kernel: np.ndarray) -> dict[str, Any]:
  return {'params': {'Dense_0': {'kernel': jnp.float32(kernel), 'bias': jnp.zeros(len(kernel.T))}}}


MODEL = {
  'encoder': dense(np.eye(3)),
  'sampler': dense(np.concatenate([B.T, A.T])),
  'decoder': dense(W.T),
}


def test_the_loss_is_two_log_two_where_nothing_can_be_told() -> None:
  assert avb.discriminator_loss(jnp.zeros(()), jnp.zeros(())) == pytest.approx(2.0 * np.log(2.0))


@pytest.mark.parametrize('adaptive', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_under_the_best_discriminator_all_is_as_in_closed_form(adaptive: bool) -> None:
  """The divergence, and the gradient of the bound, although T is held still and q is not."""
  objective = model(
    Best(adaptive),
    *(1.0, optax.sgd(0.0)),
    adaptive_contrast=adaptive,
    contrast_samples=200,
  )
  params, memory = objective.init(jax.random.key(0))
  params |= MODEL
  batch, keys = (
    np.tile(X.reshape(1, *SHAPE), (2000, 1, 1, 1)),
    jax.random.split(jax.random.key(1), 2000),
  )
  after, _, metrics = jax.jit(on_one_device(objective))(params, memory, batch, keys)
  assert metrics['adversarial_kl_nats'] == pytest.approx(float(kl(0.0, A)), abs=0.05)

  def negative_bound(shift: jax.Array, scale: jax.Array) -> jax.Array:
    mean, covariance = B @ X + shift, scale @ scale.T
    square = jnp.sum((X - W @ mean) ** 2) + jnp.trace(W @ covariance @ W.T)
    return kl(shift, scale) + square / (2.0 * NOISE**2)

  slopes = jax.grad(negative_bound, (0, 1))(jnp.zeros(LATENT), jnp.float32(A))
  layer = (before['params']['Dense_0'] for before in (params['sampler'], after['sampler']))
  moved = jax.tree.map(lambda a, b: a - b, *layer)
  np.testing.assert_allclose(moved['bias'], slopes[0], atol=0.1)
  np.testing.assert_allclose(moved['kernel'][3:].T, slopes[1], atol=0.25)


@pytest.mark.parametrize(('of_image', 'active'), [(1.0, 2.0), (0.0, 0.0)])
def test_codes_that_do_not_look_at_images_have_collapsed(of_image: float, active: float) -> None:
  """Although the mean of 64 draws of noise as wide as the prior spreads more than a code may."""
  objective = model(nn.Dense(1), 1.0, optax.sgd(0.0), contrast_samples=64)
  params, _ = objective.init(jax.random.key(0))
  sampler = dense(np.concatenate([of_image * B.T, np.eye(LATENT)]))
  images = np.random.default_rng(0).normal(size=(50, *SHAPE))
  found = objective.diagnose(params | MODEL | {'sampler': sampler}, examples(images), KEY)
  assert found['active_units'] == active
  said = objective.warn(10_000, found)
  assert len(said) == (active == 0.0)
  assert not objective.warn(10, found)  # so early it means nothing
  assert all(f'objective.{field}' not in ''.join(said) for field in ('beta', 'free_bits'))


@pytest.mark.slow
def test_the_bound_of_held_out_images_is_a_gaussians() -> None:
  """The ELBO is that of the mean and variances of q, far from log p(x) here; no T has a say."""
  objective = model(
    mlp.Encoder(1, ()), 0.0, optax.sgd(0.0), contrast_samples=2000, importance_samples=2000
  )
  params = objective.init(jax.random.key(0))[0] | MODEL
  found = jax.jit(objective.evaluate)(params, example(X.reshape(SHAPE)), jax.random.key(2))
  log_p = multivariate_normal.logpdf(X, np.zeros(3), W @ W.T + NOISE**2 * np.eye(3))
  assert found['kl_nats'] == pytest.approx(float(kl(0.0, np.diag(DEVIATION))), abs=0.05)
  assert found['elbo_gaussian_density_nats'] < log_p - 2.0
  code = objective.encode(params, jnp.float32(X.reshape(SHAPE)), jax.random.key(3))
  np.testing.assert_allclose(code, B @ X, atol=0.03)


@pytest.mark.slow
def test_few_draws_in_training_are_no_bias_of_held_out_images() -> None:
  """Of which T never knows: with 16 the bound of training is 0.1 nats too high."""
  objective = model(Best(True), 0.0, optax.sgd(0.0), contrast_samples=16, importance_samples=10_000)
  params, memory = objective.init(jax.random.key(0))
  params |= MODEL
  found = jax.jit(objective.evaluate)(params, example(X.reshape(SHAPE)), jax.random.key(2))
  assert found['adversarial_kl_nats'] == pytest.approx(float(kl(0.0, A)), abs=0.05)
  batch, keys = (
    np.tile(X.reshape(1, *SHAPE), (10_000, 1, 1, 1)),
    jax.random.split(jax.random.key(1), 10_000),
  )
  *_, metrics = jax.jit(on_one_device(objective))(params, memory, batch, keys)
  assert metrics['adversarial_kl_nats'] < found['adversarial_kl_nats'] - 0.05


def error_after_training(adaptive: bool) -> float:
  """Of the divergence in nats, by a small discriminator after 1500 steps on the posterior as is."""
  objective = model(
    mlp.Encoder(1, (32, 32)),
    *(0.0, optax.adam(3e-3)),
    adaptive_contrast=adaptive,
    importance_samples=2000,
  )
  params, memory = objective.init(jax.random.key(0))
  update, batch = on_one_device(objective), np.tile(X.reshape(1, *SHAPE), (64, 1, 1, 1))

  def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
    keys = jax.random.split(jax.random.fold_in(jax.random.key(4), i), 64)
    return update(*carry, batch, keys)[:2], None

  train = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(1500))[0])
  params, _ = train((params | MODEL, memory))
  found = jax.jit(objective.evaluate)(params, example(X.reshape(SHAPE)), jax.random.key(5))
  return abs(float(found['adversarial_kl_nats']) - float(kl(0.0, A)))


@pytest.mark.slow
def test_adaptive_contrast_comes_nearer() -> None:
  """A discriminator finds all of the divergence but 0.2 nats with it, and less without."""
  adaptive, plain = map(error_after_training, (True, False))
  assert adaptive < 0.2
  assert plain > 2.0 * adaptive


@pytest.mark.parametrize('fields', [{'noise': 0}, {'contrast_samples': 1}])
def test_numbers_out_of_range(fields: dict[str, Any]) -> None:
  (name,) = fields
  with pytest.raises(ValueError, match=rf'objective\.{name}={fields[name]} (must be )?at least'):
    avb.adversarial_variational_bayes(
      *(
        mlp.Encoder(1, ()),
        mlp.Encoder(LATENT, ()),
        observation_model(mlp.Decoder(SHAPE, ()), GAUSSIAN),
      ),
      *(mlp.Encoder(1, ()), optax.sgd(0.0), optax.sgd(0.0), SHAPE, LATENT),
      **({'noise': 2} | fields),
    )
