"""Flows of posteriors: their determinants, their densities, and what they can be."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.networks import mlp
from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.variational import bounds, likelihoods, posteriors, vae
from tests.examples import example, on_one_device

FLOWS = ('planar', 'inverse_autoregressive', 'real_nvp')


def drawn(name: str, latent: int, flows: int, scale: float = 1.0) -> tuple[Any, ...]:
  """Mean, log variance and flow of a posterior whose every number is drawn."""
  family = posteriors.find_posterior(name, latent, flows)
  rng = np.random.default_rng(0)
  params = jax.eval_shape(family.init, jax.random.key(0)) if family.init else {}
  params = jax.tree.map(lambda leaf: jnp.float32(scale * rng.normal(size=leaf.shape)), params)
  return family.parts(params, jnp.float32(rng.normal(size=family.outputs)))


@pytest.mark.parametrize('name', FLOWS)
@pytest.mark.parametrize(('latent', 'flows'), [(5, 1), (4, 3)])
def test_determinants_are_those_of_the_jacobian(name: str, latent: int, flows: int) -> None:
  *_, flow = drawn(name, latent, flows, scale=0.3)
  z = jnp.float32(np.random.default_rng(1).normal(size=(6, latent)))
  log_determinant = jax.vmap(flow)(z)[1]
  jacobian = np.asarray(jax.vmap(jax.jacfwd(lambda z: flow(z)[0]))(z), np.float64)
  expected = np.linalg.slogdet(jacobian)[1]
  np.testing.assert_allclose(log_determinant, expected, rtol=1e-4, atol=1e-4)
  assert np.abs(expected).min() > 1e-3


@pytest.mark.parametrize('name', FLOWS)
def test_density_is_one_over_what_samples_are_weighed_by(name: str) -> None:
  """E 1[z in A] / q(z) is the area of A, for a box where the density is not small."""
  mean, log_variance, flow = drawn(name, 2, 2, scale=0.4)
  z = bounds.draw(mean, log_variance, jax.random.key(0), 200_000)
  log_q = jax.vmap(log_normal, in_axes=(0, None, None))(z, mean, log_variance)
  z, log_determinant = jax.vmap(flow)(z)
  z, q = np.asarray(z), np.exp(np.asarray(log_q - log_determinant, np.float64))
  centre, half = np.median(z, axis=0), np.std(z, axis=0) / 2
  inside = (np.abs(z - centre) < half).all(1)
  weights = inside / q
  error = weights.std() / np.sqrt(len(z))
  area = 4 * half.prod()
  np.testing.assert_allclose(weights.mean(), area, atol=4 * error)
  assert error < 0.02 * area


@pytest.mark.parametrize('along', [-30.0, -1.0, 0.0, 2.0])
def test_planar_steps_can_be_inverted_whatever_the_encoder_says(along: float) -> None:
  """w.u' = softplus(w.u) - 1 > -1 (app. A.1), so that along w a step never turns back."""
  w, across = jnp.float32([0.6, 0.8]), jnp.float32([-0.8, 0.6])
  u = along * w + 3.0 * across
  fixed = posteriors.invertible(u, w)
  assert w @ fixed == pytest.approx(np.logaddexp(0.0, along) - 1.0, abs=1e-5)
  assert across @ fixed == pytest.approx(3.0, abs=1e-5)  # as it was
  line = jnp.linspace(-5.0, 5.0, 2001)[:, None] * w[None]
  moved, _ = jax.vmap(posteriors.planar_step, in_axes=(0, None, None, None))(line, u, w, 0.3)
  assert (np.diff(moved @ w) > -1e-5).all()


def test_a_planar_step_bends_along_u_by_what_lies_along_w() -> None:
  """z + u' tanh(w.z + b) (eq. 10)."""
  z, u, w = (jnp.float32(v) for v in ([0.3, -0.2], [0.5, 1.0], [0.6, 0.8]))
  found, _ = posteriors.planar_step(z, u, w, jnp.float32(0.7))
  expected = z + posteriors.invertible(u, w) * np.tanh(0.18 - 0.16 + 0.7)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def jacobian(flows: int) -> np.ndarray:
  *_, flow = drawn('inverse_autoregressive', 4, flows)
  return np.asarray(jax.jacfwd(lambda z: flow(z)[0])(jnp.float32([0.1, -0.4, 0.3, 0.7])))


def test_dimensions_see_those_before_them_and_the_order_turns_between_steps() -> None:
  one, two = jacobian(1), jacobian(2)
  np.testing.assert_array_equal(np.triu(one, 1), 0.0)
  assert (np.abs(one[np.tril_indices(4)]) > 1e-6).all()
  assert (np.abs(two) > 1e-7).all()


def test_one_autoregressive_step_is_any_gaussian_posterior() -> None:
  """p(x, z) / q(z|x) = p(x) at every z, for x = W z + noise with dependent columns of W."""
  w, x, noise = np.array([[1.0, 0.8], [0.5, -0.4], [0.3, 1.0]]), np.array([0.7, -0.3, 1.1]), 0.6
  covariance = np.linalg.inv(np.eye(2) + w.T @ w / noise**2)
  mean, root = covariance @ w.T @ x / noise**2, np.linalg.cholesky(covariance)
  assert abs(covariance[0, 1]) > 0.1 * covariance[0, 0]
  family = posteriors.find_posterior('inverse_autoregressive', 2, 1)
  params = family.init(jax.random.key(0))
  gate = 1 / (1 + np.exp(-posteriors.OPEN))
  deviation = np.diag(root) / gate
  weights = params['step_0']['params']
  weights['m_direct'] = jnp.zeros((2, 2)).at[0, 1].set(root[1, 0] / deviation[0] / (1 - gate))
  weights['m_bias'] = jnp.float32(mean / (1 - gate))
  output = jnp.float32(np.concatenate([np.zeros(2), 2 * np.log(deviation), np.zeros(2)]))

  def log_p(z: jax.Array) -> jax.Array:
    return log_normal(jnp.float32(x), jnp.float32(w) @ z, jnp.full(3, 2 * np.log(noise)))

  base_mean, log_variance, flow = family.parts(params, output)
  found = bounds.terms(log_p, base_mean, log_variance, jax.random.key(1), 200, flow)
  expected = stats.multivariate_normal(np.zeros(3), w @ w.T + noise**2 * np.eye(3)).logpdf(x)
  np.testing.assert_allclose(found.log_weights(), expected, atol=1e-4)
  blind = bounds.terms(log_p, jnp.float32(mean), log_variance, jax.random.key(1), 200)
  assert np.std(blind.log_weights()) > 0.1  # as a diagonal one is not


@pytest.mark.parametrize('name', ['inverse_autoregressive', 'real_nvp'])
def test_steps_leave_codes_nearly_alone_at_first(name: str) -> None:
  """With m = s = 0 an autoregressive step shrinks by its gate, and a coupling is nothing."""
  family = posteriors.find_posterior(name, 3, 1)
  *_, flow = family.parts(family.init(jax.random.key(0)), jnp.ones(family.outputs))
  z = jnp.float32([0.3, -1.0, 2.0])
  gate = 1 / (1 + np.exp(-posteriors.OPEN)) if name == 'inverse_autoregressive' else 1.0
  np.testing.assert_allclose(flow(z)[0], gate * z, rtol=1e-6)


GAUSSIAN = likelihoods.find_likelihood('gaussian')


def model(posterior: str, flows: int, **fields: Any) -> Any:
  outputs = posteriors.find_posterior(posterior, 2, flows).outputs
  return vae.vae(
    mlp.Encoder(outputs, ()), likelihoods.observation_model(mlp.Decoder((3, 1, 1), ()), GAUSSIAN),
    optax.sgd(0.01), (3, 1, 1), 2, posterior=posterior, flows=flows, **fields,
  )  # fmt: skip


def test_a_vae_learns_its_flow_and_reports_the_sampled_divergence() -> None:
  """The loss is reconstruction and KL, of the same samples; the steps' parameters move."""
  objective = model('inverse_autoregressive', 2, samples=3)
  params, memory = objective.init(jax.random.key(0))
  image = example(np.ones((3, 1, 1))).image
  moved, _, metrics = jax.jit(on_one_device(objective))(
    params, memory, image[None], jax.random.key(1)[None]
  )
  whole = metrics['reconstruction_gaussian_density_nats'] + metrics['kl_nats']
  np.testing.assert_allclose(metrics['loss'], whole, rtol=1e-5)
  change = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), params['flow'], moved['flow'])
  assert max(jax.tree.leaves(change)) > 1e-4
  found = jax.jit(objective.evaluate)(params, example(image), jax.random.key(2))
  elbo = -found['reconstruction_gaussian_density_nats'] - found['kl_nats']
  np.testing.assert_allclose(found['elbo_gaussian_density_nats'], elbo, rtol=1e-5)


@pytest.mark.parametrize(
  ('posterior', 'flows', 'fields', 'message'),
  [
    ('diagonal', 2, {}, r'objective\.flows=2 has no effect'),
    ('planar', 0, {}, r'objective\.flows=0: .*takes 1 or more'),
    ('planar', 1, {'gradient': 'sticking_the_landing'}, 'at its own samples alone'),
    ('planar', 1, {'free_bits': 0.1}, 'at its own samples alone'),
  ],
)
def test_what_does_not_go_together_is_refused(
  posterior: str, flows: int, fields: dict[str, Any], message: str
) -> None:
  with pytest.raises(ValueError, match=message):
    model(posterior, flows, **fields)


def test_unknown_families_and_couplings_of_one_dimension_are_refused() -> None:
  with pytest.raises(ValueError, match=r"objective\.posterior='sylvester'; choose one of diagonal"):
    posteriors.find_posterior('sylvester', 2, 1)
  with pytest.raises(ValueError, match='couples 2 or more dimensions'):
    posteriors.find_posterior('real_nvp', 1, 1)
