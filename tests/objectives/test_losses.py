"""Every loss against its best critic of two Gaussians, and the divergence that it amounts to."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.objectives.adversarial.losses import LOSSES, Losses, least_squares

GRID = np.linspace(-6.0, 6.0, 241)
WIDTH = GRID[1] - GRID[0]
P, Q = stats.norm(-0.5, 1.0).pdf(GRID), stats.norm(0.5, 1.2).pdf(GRID)
RATIO = np.log(P / Q)

# The critic that no other beats, where p and q are known.
BEST: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
  'minimax': lambda p, q: np.log(p / q),
  'non_saturating': lambda p, q: np.log(p / q),
  'least_squares': lambda p, q: p / (p + q),
  'hinge': lambda p, q: np.sign(p - q),
  'kullback_leibler': lambda p, q: 1.0 + np.log(p / q),
  'reverse_kullback_leibler': lambda p, q: np.log(p / q),
  'pearson': lambda p, q: 2.0 * (p / q - 1.0),
  'jensen_shannon': lambda p, q: np.log(p / q),
}


def integral(values: np.ndarray) -> float:
  return float(WIDTH * values.sum())


def jensen_shannon() -> float:
  middle = (P + Q) / 2
  return integral(P * np.log(P / middle) + Q * np.log(Q / middle)) / 2


def best_loss() -> dict[str, float]:
  """What the best critic's loss is, by quadrature of the divergence that it estimates."""
  value = -(2 * jensen_shannon() - 2 * np.log(2))
  return {
    'minimax': value,
    'non_saturating': value,
    'least_squares': integral(P * Q / (P + Q)) / 2,
    'hinge': 2 - integral(np.abs(P - Q)),
    'kullback_leibler': -integral(P * np.log(P / Q)),
    'reverse_kullback_leibler': -integral(Q * np.log(Q / P)),
    'pearson': -integral((P - Q) ** 2 / Q),
    'jensen_shannon': -2 * jensen_shannon(),
  }


def expected(losses: Losses, critic: jax.Array) -> jax.Array:
  """E of the critic's loss on the grid: the terms in r and in g do not interact here."""
  zero = jnp.zeros(())
  real = jax.vmap(losses.critic, in_axes=(0, None))(critic, zero)
  fake = jax.vmap(losses.critic, in_axes=(None, 0))(zero, critic)
  terms = jnp.asarray(P) * real + jnp.asarray(Q) * (fake - losses.critic(zero, zero))
  return WIDTH * terms.sum()


def numerically_best(losses: Losses) -> np.ndarray:
  """The critic's best output at each point of the grid apart, by ternary search.

  Of p (l(v, 0) - l(0, 0)) + q (l(0, v) - l(0, 0)), which is convex in v.
  """
  zero = jnp.zeros(())
  real = jax.vmap(losses.critic, in_axes=(0, None))
  fake = jax.vmap(losses.critic, in_axes=(None, 0))

  @jax.jit
  def slope(v: jax.Array) -> jax.Array:
    total = lambda v: jnp.sum(jnp.asarray(P) * real(v, zero) + jnp.asarray(Q) * fake(zero, v))  # noqa: E731
    return jax.grad(total)(v)

  low, high = np.full(GRID.shape, -30.0, np.float32), np.full(GRID.shape, 30.0, np.float32)
  for _ in range(40):
    middle = (low + high) / 2
    rising = np.asarray(slope(middle)) > 0
    low, high = np.where(rising, low, middle), np.where(rising, middle, high)
  return (low + high) / 2


@pytest.mark.parametrize('name', BEST)
def test_best_critic_between_two_gaussians(name: str) -> None:
  found, known = numerically_best(LOSSES[name]), BEST[name](P, Q)
  inside = (np.abs(known) < 20) & (np.abs(P - Q) > 1e-4 * (P + Q))  # ties may go either way
  assert inside.mean() > 0.9
  np.testing.assert_allclose(found[inside], known[inside], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize('name', BEST)
def test_loss_of_the_best_critic_is_the_divergence(name: str) -> None:
  best = jnp.asarray(BEST[name](P, Q), jnp.float32)
  loss = expected(LOSSES[name], best)
  np.testing.assert_allclose(loss, best_loss()[name], rtol=1e-4)
  for change in (0.2, -0.2):
    assert expected(LOSSES[name], best + change * np.sin(GRID)) > loss


@pytest.mark.parametrize('a, b, c', [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0)])  # noqa: PT006
def test_best_critic_of_least_squares(a: float, b: float, c: float) -> None:
  losses = least_squares(a, b, c)
  found = numerically_best(losses)
  np.testing.assert_allclose(found, (b * P + a * Q) / (P + Q), atol=1e-4)
  assert losses.generator(jnp.float32(9.0), jnp.float32(3.0)) == pytest.approx((3 - c) ** 2 / 2)


def test_pearson_least_squares_descends_a_chi_square() -> None:
  """With (-1, 1, 0): E_p (f - c)^2 + E_q (f - c)^2 = chi^2(p + q || 2 q) (Mao et al., eq. 8)."""
  losses = least_squares(-1.0, 1.0, 0.0)
  best = jnp.asarray((P - Q) / (P + Q), jnp.float32)
  both = jax.vmap(losses.generator, in_axes=(None, 0))(jnp.zeros(()), best)
  assert integral((P + Q) * np.asarray(2 * both)) == pytest.approx(
    integral((P - Q) ** 2 / (P + Q)), rel=1e-4
  )


def relativistic(critic: np.ndarray) -> float:
  """E of the critic's loss over independent pairs."""
  pairs = jax.vmap(jax.vmap(LOSSES['relativistic'].critic, (None, 0)), (0, None))
  values = pairs(jnp.asarray(critic, jnp.float32), jnp.asarray(critic, jnp.float32))
  return float(WIDTH**2 * (P @ np.asarray(values, np.float64) @ Q))


def test_best_relativistic_critic_is_the_log_ratio() -> None:
  """By Bayes' rule on which of the two is real: sigmoid(f(x) - f(y)) = p(x) q(y) / (p(x) q(y) +
  p(y) q(x)).
  """
  best = relativistic(RATIO)
  real_first, fake_first = np.outer(P, Q), np.outer(Q, P)
  entropy = -real_first * np.log(real_first / (real_first + fake_first))
  assert best == pytest.approx(WIDTH**2 * entropy.sum(), rel=1e-4)
  assert best < np.log(2)
  assert relativistic(RATIO + 3.0) == pytest.approx(best, rel=1e-5)  # only differences count
  for change in (0.2, -0.2):
    assert relativistic(RATIO + change * np.sin(GRID)) > best
    assert relativistic((1 + change) * RATIO) > best
  assert relativistic(0 * RATIO) == pytest.approx(np.log(2), rel=1e-4)


def test_wasserstein_of_the_best_lipschitz_critic_is_the_distance_of_quantiles() -> None:
  """In one dimension f' = sign(F_q - F_p), and W1 is the area between the two."""
  excess = np.cumsum(Q - P) * WIDTH
  best = np.cumsum(np.sign(excess)) * WIDTH
  loss = expected(LOSSES['wasserstein'], jnp.asarray(best, jnp.float32))
  assert loss == pytest.approx(-integral(np.abs(excess)), rel=2e-3)
  levels = np.linspace(0.0, 1.0, 2001)[1:-1]
  quantiles = [stats.norm(*at).ppf(levels) for at in ((-0.5, 1.0), (0.5, 1.2))]
  assert loss == pytest.approx(-np.abs(quantiles[0] - quantiles[1]).mean(), rel=1e-2)


def sigmoid(v: float) -> float:
  return 1 / (1 + np.exp(-v))


@pytest.mark.parametrize('r, g', [(0.7, -0.4), (-2.0, 1.5)])  # noqa: PT006
@pytest.mark.parametrize(
  ('name', 'slope'),
  [
    ('minimax', lambda r, g: -sigmoid(g)),
    ('non_saturating', lambda r, g: sigmoid(g) - 1),
    ('least_squares', lambda r, g: g - 1),
    ('hinge', lambda r, g: -1.0),
    ('relativistic', lambda r, g: -sigmoid(r - g)),
    ('wasserstein', lambda r, g: -1.0),
    ('kullback_leibler', lambda r, g: -np.exp(g - 1)),
    ('reverse_kullback_leibler', lambda r, g: -1.0),
    ('pearson', lambda r, g: -(g / 2 + 1)),
    ('jensen_shannon', lambda r, g: -sigmoid(g)),
  ],
)
def test_slope_of_the_generators_loss_in_the_critics_output(
  name: str, slope: Callable[[float, float], float], r: float, g: float
) -> None:
  found = jax.grad(LOSSES[name].generator, argnums=1)(jnp.float32(r), jnp.float32(g))
  assert found == pytest.approx(slope(r, g), rel=1e-5)


def test_every_loss_is_tested() -> None:
  assert {*BEST, 'relativistic', 'wasserstein'} == set(LOSSES)
