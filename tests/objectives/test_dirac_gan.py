"""The Dirac-GAN, on which every loss and constraint has a known fate (Mescheder et al. 2018).

Data are the point 0, the generator makes the point theta, and the critic is f(x) = psi x. The
equilibrium is theta = psi = 0. With h the step size, both players' gradients at 0 are c psi and
-c theta, c the slope of their losses at an output of 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.objectives.adversarial.constraints import PENALTIES, clip_weights
from jaxgen.objectives.adversarial.losses import LOSSES

Step = Callable[[jax.Array], jax.Array]  # (theta, psi) -> (theta, psi)
H = 0.1
SLOPES = {
  'minimax': 0.5,
  'non_saturating': 0.5,
  'relativistic': 0.5,
  'jensen_shannon': 0.5,
  'hinge': 1.0,
  'wasserstein': 1.0,
  'reverse_kullback_leibler': 1.0,
  'pearson': 1.0,
  'kullback_leibler': np.exp(-1),
}


def game(
  loss: str,
  constraint: str = 'none',
  weight: float = 0.0,
  alternating: bool = False,
  window: float = np.inf,
  h: float = H,
) -> Step:
  """A step of gradient descent of both players, at once or the critic first."""
  losses, point = LOSSES[loss], jnp.zeros((1, 1, 1))
  penalty = PENALTIES[constraint](weight) if constraint != 'none' else lambda *_: 0.0

  def critic_loss(psi: jax.Array, theta: jax.Array) -> jax.Array:
    f = lambda image: psi * image.squeeze()  # noqa: E731
    fake = point + theta
    return losses.critic(f(point), f(fake)) + penalty(f, point, fake, jax.random.key(0))

  def generator_loss(theta: jax.Array, psi: jax.Array) -> jax.Array:
    return losses.generator(psi * 0.0, psi * theta)

  def step(state: jax.Array) -> jax.Array:
    theta, psi = state
    moved = psi - h * jax.grad(critic_loss)(psi, theta)
    if np.isfinite(window):
      moved = clip_weights({'f': {'kernel': moved}}, window)['f']['kernel']
    theta -= h * jax.grad(generator_loss)(theta, moved if alternating else psi)
    return jnp.stack([theta, moved])

  return step


def radii(step: Step, steps: int, start: float) -> np.ndarray:
  """Distance from the equilibrium before every step."""
  first = start * jnp.array([0.8, 0.6])
  states = jax.jit(lambda s: jax.lax.scan(lambda s, _: (step(s), s), s, None, steps)[1])(first)
  return np.linalg.norm(np.asarray(states, np.float64), axis=1)


def eigenvalues(step: Step) -> np.ndarray:
  """Of the step's Jacobian at the equilibrium."""
  return np.linalg.eigvals(np.asarray(jax.jacobian(step)(jnp.zeros(2)), np.float64))


@pytest.mark.parametrize('h', [0.1, 0.4])
@pytest.mark.parametrize('loss', SLOPES)
def test_simultaneous_steps_spiral_outwards(loss: str, h: float) -> None:
  """|1 +- i h c| = sqrt(1 + h^2 c^2): sqrt(1 + h^2 / 4) of minimax, sqrt(1 + h^2) of WGAN."""
  c = SLOPES[loss]
  found = eigenvalues(game(loss, h=h))
  np.testing.assert_allclose(sorted(found.imag), [-h * c, h * c], rtol=1e-5)
  np.testing.assert_allclose(np.abs(found), np.sqrt(1 + (h * c) ** 2), rtol=1e-6)


@pytest.mark.parametrize('loss', ['minimax', 'wasserstein'])
def test_simultaneous_play_grows_as_its_eigenvalues_say(loss: str) -> None:
  found = radii(game(loss), 300, 1e-4)
  growth = (found[-1] / found[0]) ** (1 / 299)
  assert growth - 1 == pytest.approx(np.sqrt(1 + (H * SLOPES[loss]) ** 2) - 1, rel=0.01)


@pytest.mark.parametrize(('loss', 'limit'), [('minimax', 4.0), ('wasserstein', 2.0)])
def test_alternating_play_circles_up_to_a_step_size(loss: str, limit: float) -> None:
  for h in (0.1, 0.99 * limit):
    np.testing.assert_allclose(
      np.abs(eigenvalues(game(loss, alternating=True, h=h))), 1.0, rtol=1e-4
    )
  assert np.abs(eigenvalues(game(loss, alternating=True, h=1.05 * limit))).max() > 1.2
  found = radii(game(loss, alternating=True), 2000, 1e-2)
  assert found.min() / found[0] > 0.9
  assert found.max() / found[0] < 1.1


@pytest.mark.parametrize('loss', ['non_saturating', 'relativistic'])
@pytest.mark.parametrize('h', [0.05, 0.1])
def test_non_saturating_play_settles_on_a_circle(loss: str, h: float) -> None:
  """Of radius sqrt(2 h), from inside and from outside: h^2 r^2 / 4 out, h r^4 / 8 in, a step."""
  for start in (0.5, 1.5):
    found = radii(game(loss, h=h), 12_000, start * np.sqrt(2 * h))[-3000:]
    assert found.mean() == pytest.approx(np.sqrt(2 * h), rel=0.02)
    assert np.ptp(found) < 0.2 * found.mean()


@pytest.mark.parametrize(
  ('constraint', 'times', 'critical'), [('r1', 1, 1.0), ('r2', 1, 1.0), ('r1_and_r2', 2, 0.5)]
)
def test_zero_centred_penalties_converge(constraint: str, times: int, critical: float) -> None:
  """Eigenvalues -gamma / 2 +- sqrt(gamma^2 / 4 - 1 / 4), gamma doubled by two penalties."""
  gammas = np.array([0.3, 0.6, 0.9, 1.0, 1.1, 1.6, 3.0]) * critical
  sizes = []
  for gamma in gammas:
    found = eigenvalues(game('non_saturating', constraint, gamma))
    root = np.emath.sqrt((times * gamma) ** 2 / 4 - 0.25)
    known = 1 + H * (-times * gamma / 2 + np.array([1, -1]) * root)
    # Where both eigenvalues meet, their digits are the roots of a rounding error.
    np.testing.assert_allclose(found.sum(), known.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.prod(), known.prod(), rtol=1e-5)
    sizes.append(np.abs(found).max())
  assert gammas[np.argmin(sizes)] == critical  # converges fastest
  assert max(sizes) < 1
  assert radii(game('non_saturating', constraint, critical), 2000, 0.5)[-1] < 1e-30


@pytest.mark.parametrize(
  ('fields', 'bound'),
  [
    ({'constraint': 'gradient_penalty', 'weight': 1.0}, 2.0),
    ({'window': 0.3}, 0.6),
  ],
)
def test_slope_held_to_a_size_goes_on_circling(fields: dict, bound: float) -> None:
  """Its critic has to lean one way or the other even where there is nothing to tell."""
  states = radii(game('wasserstein', **fields), 3000, 0.1)[-1000:]
  assert 0.15 < states.max() < bound


def test_least_squares_needs_a_critic_that_can_be_half_everywhere() -> None:
  """Of targets 0 and 1 the equilibrium's output is 1/2, which psi x at 0 is not: no rest at 0."""
  theta = jax.jacobian(game('least_squares'))(jnp.zeros(2))
  np.testing.assert_allclose(theta, [[1.0, H], [0.0, 1.0]], atol=1e-7)


def test_every_loss_is_played() -> None:
  assert {*SLOPES, 'least_squares'} == set(LOSSES)
