"""Penalties of critics whose slope is known, by hand, and the best critic under them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.layers.normalisation import STATISTICS
from jaxgen.objectives.adversarial.constraints import PENALTIES, clip_weights, slope
from jaxgen.objectives.adversarial.losses import LOSSES
from jaxgen.objectives.adversarial.players import Critic

REAL, FAKE = jnp.array([3.0, 4.0]).reshape(2, 1, 1), jnp.array([0.0, -2.0]).reshape(2, 1, 1)
KEY = jax.random.key(0)


def linear(*weights: float) -> Critic:
  return lambda image: jnp.dot(jnp.array(weights), image.ravel())


def bowl(image: jax.Array) -> jax.Array:
  """Half the square, whose gradient is the image itself."""
  return 0.5 * jnp.sum(image**2)


@pytest.mark.parametrize(
  ('name', 'steep', 'gentle'),
  [  # of slopes 5 and 1/2, with a weight of 3
    ('gradient_penalty', 3 * 16, 3 / 4),
    ('lipschitz_penalty', 3 * 16, 0),
    ('r1', 3 / 2 * 25, 3 / 2 / 4),
    ('r2', 3 / 2 * 25, 3 / 2 / 4),
    ('r1_and_r2', 3 * 25, 3 / 4),
  ],
)
def test_penalty_of_linear_critics(name: str, steep: float, gentle: float) -> None:
  penalty = PENALTIES[name](3.0)
  assert penalty(linear(3.0, -4.0), REAL, FAKE, KEY) == pytest.approx(steep, rel=1e-5)
  assert penalty(linear(0.3, 0.4), REAL, FAKE, KEY) == pytest.approx(gentle, rel=1e-4)


@pytest.mark.parametrize(('name', 'expected'), [('r1', 25), ('r2', 4), ('r1_and_r2', 29)])
def test_zero_centred_penalties_look_where_their_names_say(name: str, expected: float) -> None:
  """|x|^2 = 25 and |G(z)|^2 = 4, times gamma / 2."""
  assert PENALTIES[name](0.2)(bowl, REAL, FAKE, KEY) == pytest.approx(0.1 * expected, rel=1e-5)


@pytest.mark.parametrize('name', ['gradient_penalty', 'lipschitz_penalty'])
def test_other_penalties_look_between(name: str) -> None:
  """At one drawn point, for which the slope's own tests answer."""
  for seed in range(3):
    key = jax.random.key(seed)
    between = float(slope(bowl, REAL, FAKE, key))
    assert 1.0 < between < 5.0
    found = PENALTIES[name](2.0)(bowl, REAL, FAKE, key)
    assert found == pytest.approx(2 * (between - 1) ** 2, rel=1e-5)


@pytest.mark.parametrize('name', PENALTIES)
def test_penalty_of_a_flat_critic_can_be_differentiated(name: str) -> None:
  gradient = jax.grad(lambda w: PENALTIES[name](1.0)(lambda x: w @ x.ravel(), REAL, FAKE, KEY))
  np.testing.assert_array_equal(gradient(jnp.zeros(2)), 0.0)
  assert np.abs(gradient(jnp.array([3.0, 4.0]))).min() > 1


@pytest.mark.parametrize('weight', [0.5, 10.0])
@pytest.mark.parametrize('apart', [0.5, 3.0])
@pytest.mark.parametrize(
  ('name', 'best'),
  [
    ('gradient_penalty', lambda apart, weight: 1 + apart / (2 * weight)),
    ('lipschitz_penalty', lambda apart, weight: 1 + apart / (2 * weight)),
    ('r1', lambda apart, weight: apart / weight),
    ('r2', lambda apart, weight: apart / weight),
    ('r1_and_r2', lambda apart, weight: apart / (2 * weight)),
  ],
)
def test_best_slope_of_a_wasserstein_critic_between_two_points(
  name: str, best: Callable[[float, float], float], apart: float, weight: float
) -> None:
  """It maximises psi theta minus the penalty: WGAN-GP's estimate of theta is steeper than 1."""
  real, fake = jnp.full((1, 1, 1), apart), jnp.zeros((1, 1, 1))

  def loss(psi: jax.Array) -> jax.Array:
    f = lambda image: psi * image.squeeze()  # noqa: E731
    return LOSSES['wasserstein'].critic(f(real), f(fake)) + PENALTIES[name](weight)(
      f, real, fake, KEY
    )

  step = jax.jit(lambda psi: psi - 0.2 / weight * jax.grad(loss)(psi))
  psi = jnp.float32(0.3)
  for _ in range(100):
    psi = step(psi)
  assert psi == pytest.approx(best(apart, weight), rel=1e-4)


def test_clipped_weights_stay_in_their_window() -> None:
  weights = {'kernel': jnp.array([[0.5, -0.5, 0.02]]), 'scale': jnp.array([0.5, 3.0])}
  seen = {'var': jnp.array([0.5, 3.0])}
  found = clip_weights({'params': weights, STATISTICS: seen}, 0.1)
  np.testing.assert_allclose(found['params']['kernel'], [[0.1, -0.1, 0.02]])
  np.testing.assert_allclose(found['params']['scale'], [0.5, 1.0])
  np.testing.assert_array_equal(found[STATISTICS]['var'], seen['var'])
