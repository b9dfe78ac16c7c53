"""Bounds that a VAE can be trained by, and their gradients, against quadrature and closed forms.

The model is z ~ N(0, 1), x | z ~ N(z, 1), whose posterior is N(x / 2, 1 / 2), with an encoder that
is off by `shift`: KL(q || posterior) = shift^2.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.errors import UserError
from jaxgen.objectives import distributions, rules
from jaxgen.objectives.base import DEVICES, EXAMPLES
from jaxgen.objectives.variational import bounds, estimators

X = 0.6
LOG_P = stats.norm(0.0, np.sqrt(2.0)).logpdf(X)
GRADIENTS = estimators.GRADIENTS


def log_p(decoder_shift: jax.Array, z: jax.Array) -> jax.Array:
  """log N(x; z + decoder_shift, 1)."""
  return distributions.log_normal(jnp.float32([X]), z + decoder_shift, jnp.zeros(1))


def value(
  params: tuple[jax.Array, jax.Array, jax.Array], key: Any, beta: float = 1.0, **fields: Any
) -> jax.Array:
  """The bound from the shift of the encoder, its log variance beyond log 1/2, and the decoder's."""
  shift, widen, decoder_shift = params
  q = jnp.full(1, X / 2 + shift), jnp.full(1, np.log(0.5) + widen)
  likelihood = functools.partial(log_p, decoder_shift)
  return estimators.estimator(**fields)(likelihood, *q, key, beta)[0]


def gradients(
  shift: float, count: int = 20_000, widen: float = 0.0, **fields: Any
) -> tuple[np.ndarray, np.ndarray]:
  """Values of the bound (count,), and its gradients (count, 3)."""
  params = tuple(map(jnp.float32, (shift, widen, 0.0)))
  one = jax.value_and_grad(functools.partial(value, **fields))
  keys = jax.random.split(jax.random.key(0), count)
  values, slopes = jax.jit(jax.vmap(one, in_axes=(None, 0)))(params, keys)
  return np.asarray(values, np.float64), np.stack(slopes, axis=1).astype(np.float64)


def exact(shift: float, widen: float, decoder_shift: float, beta: float = 1.0) -> float:
  """The importance-weighted bound of two samples, by Gauss-Hermite quadrature in two dimensions."""
  nodes, weights = np.polynomial.hermite_e.hermegauss(60)
  q = stats.norm(X / 2 + shift, np.sqrt(0.5) * np.exp(widen / 2))
  z = q.mean() + q.std() * nodes
  ratio = stats.norm.logpdf(z) - q.logpdf(z)
  log_w = stats.norm(z + decoder_shift, 1.0).logpdf(X) + beta * ratio
  both = np.logaddexp(log_w[:, None], log_w[None]) - np.log(2.0)
  return float(np.outer(weights, weights).ravel() @ both.ravel() / weights.sum() ** 2)


def slopes(shift: float, widen: float, beta: float = 1.0) -> np.ndarray:
  """The gradient of `exact`, by differences."""
  at, found = np.array([shift, widen, 0.0]), []
  for direction in np.eye(3) * 1e-4:
    found.append((exact(*(at + direction), beta) - exact(*(at - direction), beta)) / 2e-4)
  return np.array(found)


@pytest.mark.parametrize(
  ('samples', 'gap'),
  [
    (1, 0.25),
    pytest.param(2, 0.1378, marks=pytest.mark.slow),
    (5, 0.0592),
    pytest.param(10, 0.0310, marks=pytest.mark.slow),
    pytest.param(20, 0.0157, marks=pytest.mark.slow),
  ],
)
def test_bound_misses_log_p_by_the_known_gap(samples: int, gap: float) -> None:
  """For shift = 1/2, by quadrature; (e^(2 shift^2) - 1) / (2 K) for many samples."""
  values, _ = gradients(0.5, 40_000, bound='importance_weighted', samples=samples)
  error = values.std() / np.sqrt(len(values))
  np.testing.assert_allclose(LOG_P - values.mean(), gap, atol=4 * error + 1e-4)
  assert error < 0.004


@pytest.mark.parametrize('gradient', ['naive', 'doubly_reparameterised'])
@pytest.mark.parametrize('beta', [pytest.param(1.0, marks=pytest.mark.slow), 0.4])
def test_gradients_of_two_samples_are_those_of_quadrature(gradient: str, beta: float) -> None:
  """Of the encoder's mean, its variance and the decoder, away from the posterior."""
  _, found = gradients(
    0.5, 100_000, 0.3, bound='importance_weighted', samples=2, gradient=gradient, beta=beta
  )
  error = found.std(0) / np.sqrt(len(found))
  np.testing.assert_allclose(found.mean(0), slopes(0.5, 0.3, beta), atol=(4 * error).max())
  assert error.max() < 0.01


def test_doubly_reparameterised_gradients_are_less_noisy() -> None:
  spread = {}
  for gradient in ('naive', 'doubly_reparameterised'):
    fields = {'bound': 'importance_weighted', 'samples': 10, 'gradient': gradient}
    spread[gradient] = gradients(0.2, 10_000, **fields)[1][:, :2].std(0)
  assert (spread['doubly_reparameterised'] < 0.5 * spread['naive']).all()


@pytest.mark.slow
def test_sticking_to_the_landing_is_biased_for_several_samples_and_not_for_one() -> None:
  found = gradients(0.5, 100_000, gradient='sticking_the_landing')[1]
  error = found.std(0) / np.sqrt(len(found))
  np.testing.assert_allclose(found.mean(0)[0], -1.0, atol=4 * error[0])  # d/dshift of -shift^2
  fields = {'bound': 'importance_weighted', 'samples': 2, 'gradient': 'sticking_the_landing'}
  found = gradients(0.5, 100_000, **fields)[1]
  error = found.std(0) / np.sqrt(len(found))
  assert (np.abs(found.mean(0) - slopes(0.5, 0.0))[:1] > 10 * error[0]).all()


@pytest.mark.parametrize(
  ('bound', 'gradient', 'samples'),
  [
    ('elbo', 'sticking_the_landing', 3),
    pytest.param('importance_weighted', 'sticking_the_landing', 3, marks=pytest.mark.slow),
    ('importance_weighted', 'doubly_reparameterised', 3),
  ],
)
def test_encoders_gradient_vanishes_at_the_posterior(
  bound: str, gradient: str, samples: int
) -> None:
  """For every sample; where the score of q is left in, it is noise."""
  _, found = gradients(0.0, 100, bound=bound, gradient=gradient, samples=samples)
  np.testing.assert_allclose(found[:, :2], 0.0, atol=1e-6)
  _, noisy = gradients(0.0, 100, bound='importance_weighted', samples=3)
  assert np.abs(noisy[:, 0]).mean() > 0.1


@pytest.mark.parametrize('gradient', GRADIENTS[1:])
def test_value_and_decoders_gradient_are_the_bounds_own(gradient: str) -> None:
  """Of every estimator, on the same samples: the loss that is reported is the bound."""
  fields = {'bound': 'importance_weighted', 'samples': 4, 'beta': 0.7}
  values, found = gradients(0.5, 50, 0.2, gradient=gradient, **fields)
  expected, naive = gradients(0.5, 50, 0.2, **fields)
  np.testing.assert_allclose(values, expected, rtol=1e-6)
  np.testing.assert_allclose(found[:, 2], naive[:, 2], rtol=1e-5, atol=1e-6)


def test_evidence_lower_bound_of_samples_is_that_with_the_closed_divergence_on_average() -> None:
  """The KL of q(z|x) to the prior is sampled where gradients go through samples alone."""
  sampled = gradients(0.5, 40_000, 0.3, gradient='sticking_the_landing', beta=0.4)[0]
  closed = gradients(0.5, 40_000, 0.3, beta=0.4)[0]
  error = (sampled - closed).std() / 200.0
  np.testing.assert_allclose(sampled.mean(), closed.mean(), atol=4 * error)
  assert 0 < error < 0.01


MEANS = np.array([[0.9, 0.1], [-0.7, 0.0], [0.2, -0.1], [0.0, 0.2]])  # of four images
SPARE = 0.05


def free_bits_bound(scale: jax.Array, free_bits: float = SPARE) -> jax.Array:
  """The batch's mean bound of a likelihood that is one, with means times `scale`, (2,)."""
  estimate = estimators.estimator(free_bits=free_bits)

  def one(mean: jax.Array) -> jax.Array:
    return estimate(lambda z: 0.0 * z.sum(), scale * mean, jnp.zeros(2), jax.random.key(0), 1.0)[0]

  def device(means: jax.Array) -> jax.Array:
    return jax.lax.pmean(jax.vmap(one, axis_name=EXAMPLES)(means).mean(), DEVICES)

  return jax.vmap(device, axis_name=DEVICES)(jnp.float32(MEANS).reshape(2, 2, 2))[0]


def test_free_bits_are_of_each_dimensions_mean_over_the_whole_batch() -> None:
  """The first dimension costs more than its free bits, of which the second is worth fewer."""
  kl = 0.5 * (MEANS**2).mean(0)
  assert kl[0] > SPARE > kl[1]
  np.testing.assert_allclose(free_bits_bound(jnp.ones(2)), -(kl[0] + SPARE), rtol=1e-6)
  slope = jax.grad(free_bits_bound)(jnp.ones(2))
  np.testing.assert_allclose(slope, [-2 * kl[0], 0.0], rtol=1e-5)


def test_free_bits_of_blocks_are_refused_in_a_sentence() -> None:
  estimate = estimators.estimator(free_bits=1.0)
  with (
    pytest.raises(UserError, match='use reduction=mean'),
    rules.sentences('vae'),
  ):
    jax.vmap(
      lambda z: estimate(lambda z: z.sum(), z, z, jax.random.key(0), 1.0)[0], axis_name=DEVICES
    )(jnp.ones((2, 3)))


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'bound': 'iwae'}, "objective.bound='iwae'; choose one of elbo"),
    ({'gradient': 'score'}, "objective.gradient='score'; choose one of naive"),
    ({'gradient': 'doubly_reparameterised'}, 'is of the importance-weighted bound'),
    ({'free_bits': -0.1}, 'must not be negative'),
    ({'free_bits': 0.1, 'gradient': 'sticking_the_landing'}, 'needs a KL in closed form'),
    ({'free_bits': 0.1, 'bound': 'importance_weighted'}, 'needs a KL in closed form'),
  ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    estimators.estimator(**fields)


def test_beta_rises_linearly_from_nothing() -> None:
  rising = estimators.warm_up(2.0, 4)
  np.testing.assert_allclose([rising(step) for step in range(7)], [0, 0.5, 1, 1.5, 2, 2, 2])
  assert estimators.warm_up(2.0, 0)(jnp.int32(0)) == 2.0
  for beta, steps in ((0.0, 4), (1.0, -1)):
    with pytest.raises(ValueError, match='warm up over a positive number'):
      estimators.warm_up(beta, steps)
  with pytest.raises(ValueError, match=r'objective\.beta=-1\.0 must be at least 0'):
    estimators.warm_up(-1.0, 0)


def test_terms_of_a_batch_of_samples_are_the_densities_of_scipy() -> None:
  """log w_k = log p(x|z_k) + beta (log p(z_k) - log q(z_k|x))."""
  z, q = np.array([[0.3], [-1.2]]), (jnp.float32([0.4]), jnp.float32([-0.3]))
  found = bounds.terms_at(jnp.float32(z), functools.partial(log_p, jnp.float32(0.0)), *q)
  ratio = stats.norm.logpdf(z) - stats.norm(0.4, np.exp(-0.15)).logpdf(z)
  expected = stats.norm(z, 1.0).logpdf(X) + 0.3 * ratio
  np.testing.assert_allclose(found.log_weights(0.3), expected[:, 0], rtol=1e-5)


def test_a_decoder_sees_so_many_samples_at_once_however_many_there_are() -> None:
  """Pixels of all 250 are nowhere together in the program, and the values are the same."""
  z, q = jnp.linspace(-1.0, 1.0, 250)[:, None], (jnp.zeros(1), jnp.zeros(1))

  def log_p(z: jax.Array) -> jax.Array:
    return distributions.log_normal(jnp.ones(333), jnp.tile(z, 333), jnp.zeros(333))

  program = str(jax.make_jaxpr(lambda z: bounds.terms_at(z, log_p, *q))(z))
  assert f'f32[{bounds.AT_ONCE},333]' in program
  assert 'f32[250,333]' not in program
  found = bounds.terms_at(z, log_p, *q).log_likelihoods
  np.testing.assert_allclose(found, jax.vmap(log_p)(z), rtol=1e-6)
