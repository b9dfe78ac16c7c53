"""The VAE's equations against scipy, quadrature and a model whose likelihood is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.networks import mlp
from jaxgen.objectives import distributions
from jaxgen.objectives.base import Objective
from jaxgen.objectives.variational import bounds, likelihoods, vae
from tests.examples import draw, example, examples, on_one_device

SHAPE, LATENT = (3, 1, 1), 2
NOISE = 0.7  # standard deviation of x given z
# Orthogonal columns, so that the exact posterior factorises as the encoder's does.
W = np.array([[1.0, 0.5], [1.0, -0.5], [-0.5, 0.0]])
B = np.array([0.1, -0.2, 0.3])
X = np.array([0.8, -0.5, 0.4])
RNG = np.random.default_rng(0)
ELBO, RECONSTRUCTION = 'elbo_gaussian_density_nats', 'reconstruction_gaussian_density_nats'


def linear_gaussian(shift: float = 0.0, widen: float = 0.0) -> dict[str, Any]:
  """Parameters of x = W z + B + noise with the exact posterior, or one shifted and widened."""
  precision = 1.0 + (W**2).sum(0) / NOISE**2
  to_mean = W / NOISE**2 / precision
  return {
    'encoder': dense(
      np.concatenate([to_mean, np.zeros((3, LATENT))], axis=1),
      np.concatenate([-B @ to_mean + shift, -np.log(precision) + widen]),
    ),
    'decoder': dense(W.T, B),
  }


def dense(kernel: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
  leaf = {'kernel': jnp.asarray(kernel, jnp.float32), 'bias': jnp.asarray(bias, jnp.float32)}
  return {'params': {'Dense_0': leaf}}


def model(
  optimizer: optax.GradientTransformation | None = None,
  likelihood: str = 'gaussian',
  log_variance: float = 2 * np.log(NOISE),
  learn_variance: bool = False,
  **hyperparameters: Any,
) -> Objective:
  """A VAE whose networks are linear maps."""
  law = likelihoods.find_likelihood(likelihood)
  return vae.vae(
    mlp.Encoder(2 * LATENT, ()),
    likelihoods.observation_model(mlp.Decoder(SHAPE, ()), law, log_variance, learn_variance),
    optimizer or optax.sgd(0.0),
    *(SHAPE, LATENT),
    **hyperparameters,
  )


def measure(params: Any, count: int, **hyperparameters: Any) -> dict[str, np.ndarray]:
  """The metrics of X under `count` independent keys."""
  keys = jax.random.split(jax.random.key(1), count)
  evaluate = jax.jit(jax.vmap(model(**hyperparameters).evaluate, in_axes=(None, None, 0)))
  metrics = evaluate(params, example(X.reshape(SHAPE)), keys)
  return {name: np.asarray(values, np.float64) for name, values in metrics.items()}


LOG_P = stats.multivariate_normal(B, W @ W.T + NOISE**2 * np.eye(3)).logpdf(X)


def test_kl_equals_scipys_cross_entropy_by_quadrature() -> None:
  mean, log_variance = RNG.normal(size=4), RNG.normal(size=4)
  z = np.linspace(-15.0, 15.0, 20001)[:, None]
  q = stats.norm(mean, np.exp(log_variance / 2))
  integrand = q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z))
  expected = np.trapezoid(integrand, z, axis=0).sum()
  actual = distributions.gaussian_kl(jnp.asarray(mean), jnp.asarray(log_variance))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_kl_equals_monte_carlo() -> None:
  mean, log_variance = jnp.array([0.5, -1.0]), jnp.array([-0.7, 0.4])
  noise = jax.random.normal(jax.random.key(0), (200_000, 2))
  z = jax.vmap(bounds.reparameterize, in_axes=(None, None, 0))(mean, log_variance, noise)
  log_ratio = jax.vmap(
    lambda z: (
      distributions.log_normal(z, mean, log_variance)
      - distributions.log_normal(z, z * 0.0, z * 0.0)
    )
  )(z)
  error = 5 * log_ratio.std() / np.sqrt(len(z))
  np.testing.assert_allclose(
    log_ratio.mean(), distributions.gaussian_kl(mean, log_variance), atol=error
  )


def test_kl_vanishes_at_the_prior_only() -> None:
  assert distributions.gaussian_kl(jnp.zeros(5), jnp.zeros(5)) == 0.0
  for mean, log_variance in ((0.1, 0.0), (0.0, 0.1), (0.0, -0.1)):
    assert distributions.gaussian_kl(jnp.full(5, mean), jnp.full(5, log_variance)) > 0.0


def test_log_normal_equals_scipy() -> None:
  x, mean, log_variance = RNG.normal(size=(3, *SHAPE))
  expected = stats.norm(mean, np.exp(log_variance / 2)).logpdf(x).sum()
  actual = distributions.log_normal(jnp.asarray(x), jnp.asarray(mean), jnp.asarray(log_variance))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_log_bernoulli_equals_scipy_on_black_and_white() -> None:
  logits, bits = RNG.normal(size=SHAPE) * 3, RNG.integers(0, 2, SHAPE)
  expected = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(bits).sum()
  actual = likelihoods.log_bernoulli(
    jnp.asarray(2.0 * bits - 1.0), jnp.asarray(logits), jnp.zeros(SHAPE)
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize('grey', [0.1, 0.5, 0.8])
def test_log_bernoulli_is_greatest_at_the_pixels_own_value(grey: float) -> None:
  """On grey pixels the surrogate's best mean is the pixel: u = sigmoid(logit)."""
  gradient = jax.grad(likelihoods.log_bernoulli, argnums=1)
  x = jnp.full(SHAPE, 2.0 * grey - 1.0)
  best = jnp.full(SHAPE, np.log(grey / (1 - grey)))
  np.testing.assert_allclose(gradient(x, best, jnp.zeros(SHAPE)), 0.0, atol=1e-6)
  np.testing.assert_allclose(likelihoods.LIKELIHOODS['bernoulli'].mean(best), x, atol=1e-6)


def test_gaussian_of_variance_one_half_is_the_squared_error() -> None:
  x, mean = (jnp.asarray(RNG.normal(size=SHAPE)) for _ in range(2))
  log_p = distributions.log_normal(x, mean, jnp.full(SHAPE, np.log(0.5)))
  np.testing.assert_allclose(
    -log_p - jnp.sum((x - mean) ** 2), 1.5 * np.log(np.pi), rtol=1e-5, atol=1e-5
  )


def test_gradient_through_the_sample_equals_the_closed_form() -> None:
  """d/dmean and d/dlog_variance of E[(z - 1)^4], whose noise is integrated by Gauss-Hermite."""
  nodes, weights = np.polynomial.hermite_e.hermegauss(8)
  weights = jnp.asarray(weights / weights.sum())

  def expectation(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    z = jax.vmap(bounds.reparameterize, in_axes=(None, None, 0))(
      mean, log_variance, jnp.asarray(nodes)
    )
    return jnp.sum(weights * (z - 1.0) ** 4)

  m, v = 0.3, 0.6
  gradients = jax.grad(expectation, argnums=(0, 1))(jnp.float32(m), jnp.float32(np.log(v)))
  np.testing.assert_allclose(gradients[0], 4 * (m - 1) ** 3 + 12 * v * (m - 1), rtol=1e-4)
  np.testing.assert_allclose(gradients[1], v * (6 * (m - 1) ** 2 + 6 * v), rtol=1e-4)


def test_importance_weights_of_the_exact_posterior_are_all_log_p() -> None:
  """p(x, z) / q(z | x) = p(x) whatever z: the bound is tight for one sample and any key."""
  metrics = measure(linear_gaussian(), count=50, importance_samples=1)
  np.testing.assert_allclose(
    metrics['importance_weighted_1_gaussian_density_nats'], LOG_P, atol=1e-4
  )


def test_elbo_of_the_exact_posterior_is_log_p() -> None:
  elbo = measure(linear_gaussian(), count=40, importance_samples=5000)[ELBO]
  np.testing.assert_allclose(elbo.mean(), LOG_P, atol=5 * elbo.std() / np.sqrt(40))
  assert elbo.std() < 0.05


def test_elbo_misses_log_p_by_the_divergence_from_the_posterior() -> None:
  shift, widen = 0.4, 0.5
  elbo = measure(linear_gaussian(shift, widen), 40, importance_samples=5000)[ELBO]
  variance = 1 / (1.0 + (W**2).sum(0) / NOISE**2)
  gap = 0.5 * np.sum(np.exp(widen) + shift**2 / variance - 1 - widen)
  np.testing.assert_allclose(LOG_P - elbo.mean(), gap, atol=5 * elbo.std() / np.sqrt(40))


def test_importance_weighted_bound_lies_between_and_grows_with_samples() -> None:
  """ELBO = L_1 <= L_2 <= L_8 <= L_64 <= log p(x) (Burda et al. 2016, theorem 1)."""
  params = linear_gaussian(0.4, 0.5)
  bounds = [LOG_P]
  for k in (64, 8, 2, 1):
    values = measure(params, 4000, importance_samples=k)[
      f'importance_weighted_{k}_gaussian_density_nats'
    ]
    error = values.std() / np.sqrt(len(values))
    assert values.mean() < bounds[-1] + 3 * error
    if k < 64:
      assert bounds[-1] - values.mean() > 0.05  # far more than the error
    bounds.append(values.mean())
  elbo = measure(params, 4000, importance_samples=1)[ELBO]
  np.testing.assert_allclose(elbo.mean(), bounds[-1], atol=0.1)
  assert bounds[1] > LOG_P - 0.05  # 64 samples come close


def test_metrics_of_evaluate_add_up() -> None:
  metrics = measure(linear_gaussian(0.4, 0.5), 3, importance_samples=4, beta=5.0)
  np.testing.assert_allclose(
    metrics[ELBO], -metrics[RECONSTRUCTION] - metrics['kl_nats'], rtol=1e-5
  )  # whatever beta training uses


@pytest.mark.parametrize('beta', [0.0, 1.0, 4.0])
def test_beta_weighs_the_divergence_in_training(beta: float) -> None:
  metrics = update(model(beta=beta), linear_gaussian())[1]
  np.testing.assert_allclose(
    metrics['loss'], metrics[RECONSTRUCTION] + beta * metrics['kl_nats'], rtol=1e-5
  )
  assert metrics['kl_nats'] > 0.1


def update(
  objective: Objective, params: Any, steps: int = 1, images: int = 20
) -> tuple[Any, dict[str, jax.Array]]:
  """Parameters and the last metrics after so many updates on one device."""
  batch = jnp.asarray(X + np.random.default_rng(2).normal(size=(images, 3)), jnp.float32)
  step = on_one_device(objective)
  opt_state = jax.tree.map(jnp.zeros_like, jax.eval_shape(objective.init, jax.random.key(0))[1])

  def one(carry: Any, key: jax.Array) -> Any:
    params, opt_state, metrics = step(
      *carry, batch.reshape(-1, *SHAPE), jax.random.split(key, images)
    )
    return (params, opt_state), metrics

  keys = jax.random.split(jax.random.key(3), steps)
  (params, _), metrics = jax.jit(lambda carry: jax.lax.scan(one, carry, keys))((params, opt_state))
  return params, {name: values[-1] for name, values in metrics.items()}


def test_more_samples_of_the_training_bound_average_its_noise() -> None:
  params = linear_gaussian()
  one, many = (measure(params, 4000, importance_samples=k)[ELBO].var() for k in (1, 16))
  np.testing.assert_allclose(one / many, 16.0, rtol=0.2)
  losses = [update(model(samples=k), params)[1]['loss'] for k in (1, 2000)]
  exact = update(model(samples=20_000), params, images=20)[1]['loss']
  assert abs(losses[1] - exact) < abs(losses[0] - exact)


def test_discretized_decoder_has_true_bits() -> None:
  """Levels are 2 / 255 apart, so that a smooth density times that is the probability of a level."""
  density, bits = (
    measure(linear_gaussian(0.4, 0.5), 50, importance_samples=3, likelihood=name)
    for name in ('gaussian', 'discretized_gaussian')
  )
  expected = density[ELBO] + 3 * np.log(2 / 255)
  np.testing.assert_allclose(bits['elbo_discretized_gaussian_nats'], expected, atol=1e-3)
  np.testing.assert_allclose(bits['bits_per_dimension'], -expected / (3 * np.log(2)), atol=1e-3)
  assert 'bits_per_dimension' not in density
  shared = {name for name in density.keys() & bits.keys()}
  assert shared == {'kl_nats'}  # what is of another definition has another name


@pytest.mark.parametrize('fields', [{'learn_variance': True}, {'log_variance': -1.0}])
def test_a_variance_without_effect_is_refused(fields: dict[str, Any]) -> None:
  with pytest.raises(ValueError, match='no effect on the likelihood bernoulli_surrogate'):
    model(likelihood='bernoulli', **({'log_variance': 0.0} | fields))


def test_learned_variance_is_the_mean_squared_error_at_its_optimum() -> None:
  """Rybkin et al. 2021, eq. 8: with all else frozen, exp(log_variance) goes to the MSE."""
  params = linear_gaussian()
  params['encoder'] = dense(np.zeros((3, 2 * LATENT)), np.array([0.0, 0.0, -30.0, -30.0]))
  params['log_variance'] = jnp.float32(1.0)
  learn = optax.multi_transform(
    {'learn': optax.sgd(0.3), 'keep': optax.set_to_zero()},
    {'encoder': 'keep', 'decoder': 'keep', 'log_variance': 'learn'},
  )
  objective = model(learn, learn_variance=True, log_variance=1.0)
  params, metrics = update(objective, params, steps=100)
  batch = X + np.random.default_rng(2).normal(size=(20, 3))  # z = 0, so that the mean is B
  error = np.mean((batch - B) ** 2)
  np.testing.assert_allclose(np.exp(params['log_variance']), error, rtol=1e-3)
  expected = 1.5 * (np.log(2 * np.pi * error) + 1)
  np.testing.assert_allclose(metrics[RECONSTRUCTION], expected, rtol=1e-3)
  start = objective.init(jax.random.key(0))[0]['log_variance']
  assert start == 1.0


def test_figures_show_reconstructions_and_the_manifold() -> None:
  params = linear_gaussian()
  batch = examples(RNG.normal(size=(4, *SHAPE)))
  pictures = model().figures['reconstructions'](params, batch, jax.random.key(0))
  np.testing.assert_array_equal(pictures[:, 0], batch.image)
  precision = 1.0 + (W**2).sum(0) / NOISE**2
  z = (np.asarray(batch.image).reshape(4, 3) - B) @ (W / NOISE**2 / precision)
  np.testing.assert_allclose(pictures[:, 1].reshape(4, 3), z @ W.T + B, rtol=1e-4, atol=1e-5)
  manifold = model().figures['manifold'](params, batch, jax.random.key(0)).reshape(15, 15, 3)
  np.testing.assert_allclose(manifold[7, 7], B, atol=1e-6)  # the middle is z = 0
  quantile = stats.norm.ppf(0.5 / 15)
  np.testing.assert_allclose(manifold[0, 0], W @ np.full(2, quantile) + B, rtol=1e-4)


def test_samples_have_the_moments_of_the_decoder() -> None:
  keys = jax.random.split(jax.random.key(4), 20_000)
  x = draw(model(), linear_gaussian(), keys).reshape(-1, 3)
  np.testing.assert_allclose(x.mean(0), B, atol=0.05)
  np.testing.assert_allclose(np.cov(x.T), W @ W.T, atol=0.05)
