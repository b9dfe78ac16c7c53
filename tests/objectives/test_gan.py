"""The GAN's value and gradients against divergences by quadrature."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from jaxgen import configuration
from jaxgen.objectives.adversarial import gan
from tests.examples import facts

ROOT = Path(__file__).parent.parent.parent
GRID = np.linspace(-12.0, 12.0, 4001)
WIDTH = GRID[1] - GRID[0]
EQUILIBRIUM = -2 * np.log(2)

PAIRS = {
  'equal': (stats.norm(0, 1), stats.norm(0, 1)),
  'shifted': (stats.norm(-1, 1), stats.norm(1.5, 1)),
  'wider': (stats.norm(0, 0.5), stats.norm(0, 2)),
  'tails': (stats.norm(1, 1), stats.laplace(0, 1)),
  'apart': (stats.norm(-5, 0.5), stats.norm(5, 0.5)),
}


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
  """JS(p || q) in nats by quadrature."""
  middle = (p + q) / 2
  kl = lambda a: np.sum(np.where(a > 0, a * np.log(np.maximum(a, 1e-300) / middle), 0.0))  # noqa: E731
  return 0.5 * WIDTH * (kl(p) + kl(q))


def expected_value(f_real: jax.Array, f_fake: jax.Array, p: np.ndarray, q: np.ndarray) -> jax.Array:
  """V(G, D) by quadrature, through `value` at pairs (x, x): its two terms do not interact."""
  zero = jnp.zeros(())
  real = jax.vmap(gan.value, in_axes=(0, None))(f_real, zero) + np.log(2.0)
  fake = jax.vmap(gan.value, in_axes=(None, 0))(zero, f_fake) + np.log(2.0)
  return WIDTH * jnp.sum(jnp.asarray(p) * real + jnp.asarray(q) * fake)


@pytest.mark.parametrize('pair', PAIRS)
def test_value_of_the_best_discriminator_is_the_jensen_shannon_divergence(pair: str) -> None:
  """With D* = p / (p + q), V = 2 JS(p || q) - 2 log 2 (Goodfellow et al. 2014, thm. 1)."""
  p, q = (distribution.pdf(GRID) for distribution in PAIRS[pair])
  logit = jnp.asarray(PAIRS[pair][0].logpdf(GRID) - PAIRS[pair][1].logpdf(GRID))
  best = expected_value(logit, logit, p, q)
  np.testing.assert_allclose(best, 2 * jensen_shannon(p, q) + EQUILIBRIUM, atol=2e-5)
  for change in (0.3, -0.3):  # and no other discriminator does better
    assert expected_value(logit + change, logit + change, p, q) < best


def test_value_at_the_equilibrium_and_of_disjoint_distributions() -> None:
  assert gan.value(jnp.zeros(()), jnp.zeros(())) == pytest.approx(EQUILIBRIUM)
  p, q = (distribution.pdf(GRID) for distribution in PAIRS['apart'])
  assert 2 * jensen_shannon(p, q) + EQUILIBRIUM == pytest.approx(0.0, abs=1e-6)


def test_gradient_ascent_of_the_discriminator_finds_the_density_ratio() -> None:
  """For N(1, 1) and N(-1, 1), logit D* = log p / q = 2 x: within reach of a linear critic."""
  p, q = (stats.norm(m, 1).pdf(GRID) for m in (1, -1))
  x = jnp.asarray(GRID)

  def v(theta: jax.Array) -> jax.Array:
    logit = theta[0] * x + theta[1]
    return expected_value(logit, logit, p, q)

  step = jax.jit(lambda theta: theta + jax.grad(v)(theta))
  theta = jnp.array([0.0, 0.5])
  for _ in range(300):
    theta = step(theta)
  np.testing.assert_allclose(theta, [2.0, 0.0], atol=1e-3)


def generator_gradient(name: str, theta: float) -> float:
  """d/dtheta of E[loss(f*(x + theta))], x ~ N(0, 1), where f* knows N(0, 1) and N(theta, 1)."""
  weights = jnp.asarray(stats.norm.pdf(GRID) * WIDTH)

  def loss(moved: jax.Array) -> jax.Array:
    x = jnp.asarray(GRID) + moved
    return jnp.sum(weights * jax.vmap(gan.GENERATOR_LOSSES[name])(0.5 * theta**2 - theta * x))

  return float(jax.grad(loss)(jnp.float32(theta)))


@pytest.mark.parametrize('name', gan.GENERATOR_LOSSES)
def test_generators_losses_share_their_fixed_point(name: str) -> None:
  """Data are N(0, 1): the gradient vanishes at theta = 0 and points to it from elsewhere."""
  assert generator_gradient(name, 0.0) == pytest.approx(0.0, abs=1e-6)
  for theta in (0.1, 1.0, 3.0):
    assert generator_gradient(name, theta) > 0
    assert generator_gradient(name, -theta) < 0


@pytest.mark.parametrize('theta', [0.5, 2.0])
def test_minimax_descends_the_jensen_shannon_divergence(theta: float) -> None:
  """By the envelope theorem the gradient against the best discriminator is that of 2 JS."""
  p, h = stats.norm.pdf(GRID), 1e-3
  up, down = (jensen_shannon(p, stats.norm(theta + d, 1).pdf(GRID)) for d in (h, -h))
  assert generator_gradient('minimax', theta) == pytest.approx((up - down) / h, rel=1e-3)


def test_gradients_in_the_logit() -> None:
  """d/df of log(1 - D) is -D, of -log D is -(1 - D): minimax starves where D is sure."""
  logits = jnp.linspace(-12.0, 12.0, 25)
  d = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
  gradients = {n: jax.vmap(jax.grad(loss))(logits) for n, loss in gan.GENERATOR_LOSSES.items()}
  np.testing.assert_allclose(gradients['minimax'], -d, rtol=1e-4)
  np.testing.assert_allclose(gradients['non_saturating'], -(1 - d), rtol=1e-4)


def test_metrics_of_the_discriminator() -> None:
  f = lambda image: image.sum()  # noqa: E731
  real, fake = jnp.full((1, 1, 1), 2.0), jnp.full((1, 1, 1), -1.0)
  loss, metrics = gan.discriminator_loss(f, real, fake, jax.random.key(0))
  d_real, d_fake = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(1.0))
  v = np.log(d_real) + np.log(1 - d_fake)
  expected = {'d_real': d_real, 'd_fake': d_fake, 'value_above_equilibrium_nats': v - EQUILIBRIUM}
  expected |= {'output_gap': 3.0, 'told_apart': 1.0}
  assert metrics.keys() == expected.keys()
  for name, value in expected.items():
    assert metrics[name] == pytest.approx(value, rel=1e-5)
  assert loss == pytest.approx(-v, rel=1e-5)


@pytest.mark.parametrize(
  ('name', 'expected'),
  [('minimax', np.log(1 - 1 / (1 + np.exp(1.0)))), ('non_saturating', np.log(1 + np.exp(1.0)))],
)
def test_game_is_played_for_the_losses_that_the_config_names(
  monkeypatch: pytest.MonkeyPatch, name: str, expected: float
) -> None:
  """D(G(z)) is the logistic of -1 here, whatever D(x) is."""
  monkeypatch.setattr(gan, 'game', lambda **arguments: arguments)
  config = configuration.execute(str(ROOT / 'experiments' / 'gan.py'))
  config.objective.generator_loss = name
  config.objective.latent = 7
  arguments = gan.build(config, facts((1, 1, 1)))
  real, fake = jnp.full((1, 1, 1), 2.0), jnp.full((1, 1, 1), -1.0)
  loss, metrics = arguments['generator_loss'](jnp.sum, real, fake, jax.random.key(0))
  assert loss == pytest.approx(expected, rel=1e-5)
  assert metrics == {}
  assert arguments['critic_loss'] is gan.discriminator_loss
  assert (arguments['players'].latent, arguments['critic_steps']) == (7, 1)


def test_an_unknown_loss_of_the_generator_is_an_error() -> None:
  config = configuration.execute(str(ROOT / 'experiments' / 'gan.py'))
  config.objective.generator_loss = 'hinge'
  with pytest.raises(ValueError, match='choose one of minimax, non_saturating'):
    gan.build(config, facts((1, 1, 1)))


@pytest.mark.parametrize('name', gan.GENERATOR_LOSSES)
def test_build_hands_the_generator_the_loss_that_is_named(
  name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  """-log D(G(z)) or log(1 - D(G(z))) of the critic's logit, by scipy."""
  monkeypatch.setattr(gan, 'game', lambda **arguments: arguments)
  config = configuration.execute(str(ROOT / 'experiments/gan.py'))
  config.objective.generator_loss = name
  arguments = gan.build(config, facts((8, 8, 1)))
  for logit in (-3.0, 0.2, 4.0):
    loss, metrics = arguments['generator_loss'](
      lambda image: 2.0 * image.sum(), None, jnp.array(0.5 * logit), None
    )
    d = expit(logit)
    assert loss == pytest.approx(
      -np.log(d) if name == 'non_saturating' else np.log(1 - d), rel=1e-4
    )
    assert metrics == {}
  assert arguments['critic_loss'] is gan.discriminator_loss
