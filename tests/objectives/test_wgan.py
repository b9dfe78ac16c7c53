"""The WGAN's estimate against known Wasserstein distances, and both of its constraints."""

from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen import configuration
from jaxgen.networks import mlp
from jaxgen.objectives.adversarial import wgan
from jaxgen.objectives.adversarial.players import leaky_relu
from jaxgen.objectives.base import DEVICES, Objective, descend
from tests.examples import draw, facts, on_one_device

ROOT = Path(__file__).parent.parent.parent
PENALTY = 10.0


def linear(*weights: Any) -> wgan.Critic:
  return lambda image: jnp.sum(jnp.stack(weights) * image.ravel())


REAL, FAKE = jnp.full((2, 1, 1), 0.5), jnp.full((2, 1, 1), -0.25)
KEY = jax.random.key(0)


def test_distance_of_a_linear_critic_is_its_inner_product_with_the_shift() -> None:
  assert wgan.distance(linear(2.0, -3.0), REAL, FAKE) == pytest.approx(-0.75)


def test_slope_of_a_linear_critic_is_the_norm_of_its_weights() -> None:
  for seed in range(3):
    assert wgan.slope(linear(3.0, -4.0), REAL, FAKE, jax.random.key(seed)) == pytest.approx(5.0)


def test_penalty_is_zero_for_unit_slope_and_quadratic_beside_it() -> None:
  for norm, expected in ((1.0, 0.0), (3.0, 4.0 * PENALTY), (0.5, 0.25 * PENALTY)):
    f = linear(0.6 * norm, 0.8 * norm)
    loss, metrics = wgan.critic_loss(f, REAL, FAKE, KEY, PENALTY)
    assert loss + metrics['distance_in_critic_units'] == pytest.approx(expected, abs=1e-5)
    assert metrics['distance_in_critic_units'] == pytest.approx(norm * 1.4 * 0.75, rel=1e-5)
  assert wgan.critic_loss(linear(3.0, 4.0), REAL, FAKE, KEY, 0.0)[0] == pytest.approx(-5.25)


def test_slope_is_taken_at_points_uniform_between_real_and_fake() -> None:
  """The gradient of |x|^2 / 2 is x itself: with x = 1 and G(z) = 0, the slope is alpha."""
  real, fake = jnp.ones((1, 1, 1)), jnp.zeros((1, 1, 1))
  f = lambda image: 0.5 * jnp.sum(image**2)  # noqa: E731
  keys = jax.random.split(KEY, 4000)
  alpha = np.asarray(jax.vmap(lambda key: wgan.slope(f, real, fake, key))(keys))
  assert stats.kstest(alpha, 'uniform').pvalue > 0.01


def test_slope_is_taken_on_the_line_between_real_and_fake() -> None:
  """A critic that squares one pixel alone tells that pixel's alpha: an image has one for all."""
  real, fake = jnp.ones((2, 2, 1)), jnp.zeros((2, 2, 1))
  for seed in range(3):
    alphas = [
      wgan.slope(lambda x: 0.5 * x[i, j, 0] ** 2, real, fake, jax.random.key(seed))  # noqa: B023
      for i, j in np.ndindex(2, 2)
    ]
    assert 0.0 < alphas[0] < 1.0
    np.testing.assert_allclose(alphas, alphas[0], rtol=1e-5)


def test_penalty_of_a_flat_critic_can_be_differentiated() -> None:
  """The norm of a gradient that is 0 has no derivative; a critic that starts flat has to learn."""

  def loss(weights: jax.Array) -> jax.Array:
    return wgan.critic_loss(linear(*weights), REAL, FAKE, KEY, PENALTY)[0]

  flat = jax.value_and_grad(loss)(jnp.zeros(2))
  assert flat[0] == pytest.approx(PENALTY, rel=1e-3)
  np.testing.assert_allclose(flat[1], -0.75, atol=1e-2)  # that of the distance alone
  gradient = jax.grad(loss)(jnp.array([3.0, 4.0]))
  # lambda d(|w| - 1)^2 = 2 lambda (|w| - 1) w / |w|, beside it
  expected = -0.75 + 2 * PENALTY * (5.0 - 1.0) * np.array([0.6, 0.8])
  np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_generator_moves_fakes_up_the_critic() -> None:
  gradient = jax.grad(lambda fake: wgan.generator_loss(linear(2.0, -1.0), REAL, fake, KEY)[0])
  np.testing.assert_allclose(-gradient(FAKE).ravel(), [2.0, -1.0])
  metrics = wgan.generator_loss(linear(3.0, -4.0), REAL, FAKE, KEY)[1]
  assert metrics['critic_slope'] == pytest.approx(5.0)


def trained_distance(shift: tuple[float, ...], deviation: float) -> float:
  """The estimate of a penalised critic between N(0, deviation^2 I) and the same, shifted."""
  dimension = len(shift)
  critic = mlp.Encoder(1, (32, 32), activation=leaky_relu)
  optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, 400), b1=0.5)

  def loss(params: Any, real: jax.Array, fake: jax.Array, key: jax.Array) -> Any:
    f = lambda image: critic.apply(params, image).squeeze()  # noqa: E731
    return wgan.critic_loss(f, real, fake, key, PENALTY)

  def draw(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    fake, real = deviation * jax.random.normal(key, (2, count, 1, 1, dimension))
    return real + jnp.asarray(shift)[None, None, None], fake

  def step(carry: Any, key: jax.Array) -> Any:
    keys = jax.random.split(key, 257)
    params, state, _ = descend(loss, optimizer, *carry, *draw(keys[0], 256), keys[1:])
    return (params, state), None

  @jax.jit
  def train(key: jax.Array) -> jax.Array:
    init_key, loop_key, test_key = jax.random.split(key, 3)
    params = critic.init(init_key, jnp.zeros((1, 1, dimension)))
    start, keys = (params, optimizer.init(params)), jax.random.split(loop_key, 400)
    one = jax.vmap(step, in_axes=None, out_axes=None, axis_name=DEVICES, axis_size=1)
    (params, _), _ = jax.lax.scan(one, start, keys)
    f = jax.vmap(lambda image: critic.apply(params, image).squeeze())
    real, fake = draw(test_key, 4000)
    return f(real).mean() - f(fake).mean()

  return float(train(KEY))


@pytest.mark.parametrize(('shift', 'deviation'), [((0.5,), 0.0), ((-1.0,), 0.3), ((0.6, 0.8), 0.2)])
def test_penalised_critic_reaches_the_distance_of_shifted_distributions(
  shift: tuple[float, ...], deviation: float
) -> None:
  """W = |shift|; the penalty lets the best slope exceed 1 by W / (2 lambda)."""
  w = np.linalg.norm(shift)
  estimate = trained_distance(shift, deviation)
  assert estimate == pytest.approx(w * (1 + w / (2 * PENALTY)), rel=0.05)


@cache
def built(clip: float, hidden: tuple[int, ...], constraint: str = 'clip') -> Objective:
  """The WGAN of the experiment's file with other networks, its generator frozen."""
  config = configuration.execute(str(ROOT / 'experiments' / 'wgan.py'))
  config.objective.update({'clip': clip, 'constraint': constraint, 'latent': 2})
  config.network.hidden = hidden
  config.optimizer.learning_rate = 0.0
  config.critic_optimizer.learning_rate = 1e-2
  return wgan.build(config, facts((1, 1, 3)))


@cache
def train(clip: float, hidden: tuple[int, ...]) -> tuple[list[Any], list[Any], np.ndarray]:
  """Parameters and metrics of some updates, and E x - E G(z) of every one of them."""
  model = built(clip, hidden)
  params, opt_state = model.init(KEY)
  images = jnp.tile(jnp.array([0.9, -0.5, 0.2])[None, None, None], (200, 1, 1, 1))
  step = jax.jit(on_one_device(model))
  states, metrics = [params], []
  for seed in range(10):
    keys = jax.random.split(jax.random.key(seed), 200)
    params, opt_state, values = step(params, opt_state, images, keys)
    states.append(params)
    metrics.append(values)
  draws = draw(model, params, jax.random.split(KEY, 20_000))
  return states, metrics, np.array([0.9, -0.5, 0.2]) - np.asarray(draws).mean((0, 1, 2))


@pytest.mark.parametrize('hidden', [(), (8, 8)])
def test_clipped_critic_stays_in_its_window(hidden: tuple[int, ...]) -> None:
  for params in train(0.01, hidden)[0]:  # from the start, after every update, every parameter
    largest = [np.abs(leaf).max() for leaf in jax.tree.leaves(params['critic'])]
    assert max(largest) <= np.float32(0.01)
  assert max(largest) == np.float32(0.01)  # and the window is felt


@pytest.mark.parametrize('clip', [0.01, 0.05])
def test_estimate_of_a_clipped_linear_critic_is_its_window_times_the_shift(clip: float) -> None:
  """Over weights in [-c, c] the supremum of w . (E x - E G) is c |E x - E G|_1."""
  _, metrics, shift = train(clip, ())
  estimate = np.mean([values['critic/distance_in_critic_units'] for values in metrics[-3:]])
  assert estimate == pytest.approx(clip * np.abs(shift).sum(), rel=0.1)
  slope = metrics[-1]['generator/critic_slope']
  assert slope == pytest.approx(clip * np.sqrt(3), rel=1e-4)  # all weights at their bounds


@pytest.mark.parametrize(('constraint', 'penalty'), [('clip', 0.0), ('penalty', PENALTY)])
def test_game_is_played_under_one_constraint(
  monkeypatch: pytest.MonkeyPatch, constraint: str, penalty: float
) -> None:
  """The window or the penalty, each as wide or as heavy as the config says."""
  monkeypatch.setattr(wgan, 'game', lambda **arguments: arguments)
  arguments = built.__wrapped__(0.05, (), constraint)
  f = linear(0.6 * 3.0, 0.8 * 3.0)
  loss, metrics = arguments['critic_loss'](f, REAL, FAKE, KEY)
  assert loss + metrics['distance_in_critic_units'] == pytest.approx(4.0 * penalty, rel=1e-5)
  assert ('project' in arguments) == (constraint == 'clip')
  if constraint == 'clip':
    window = arguments['project']({'w': jnp.array([-1.0, -0.05, 0.01, 0.06])})
    np.testing.assert_allclose(window['w'], [-0.05, -0.05, 0.01, 0.05])
  assert arguments['generator_loss'](f, REAL, FAKE, KEY)[0] == pytest.approx(3.0 * 1.4 * 0.25)


def test_penalty_leaves_weights_free() -> None:
  params = built(0.01, (8, 8), 'penalty').init(KEY)[0]
  assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(params['critic'])) > 0.1


def test_clipping_leaves_the_scales_of_normalisations_room() -> None:
  critic = {
    'Dense_0': {'kernel': jnp.array([[0.5, -0.005]]), 'bias': jnp.array([-2.0])},
    'LayerNorm_0': {'scale': jnp.array([1.0, -3.0, 0.2]), 'bias': jnp.array([0.3])},
  }
  found = wgan.clip_weights(critic, 0.01)
  np.testing.assert_allclose(found['Dense_0']['kernel'], [[0.01, -0.005]])
  np.testing.assert_allclose(found['Dense_0']['bias'], [-0.01])
  np.testing.assert_allclose(found['LayerNorm_0']['scale'], [1.0, -1.0, 0.2])
  np.testing.assert_allclose(found['LayerNorm_0']['bias'], [0.01])


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'constraint': 'spectral'}, 'choose clip or penalty'),
    ({'clip': 0.0}, 'objective.clip=0.0'),
    ({'constraint': 'penalty', 'penalty': -1.0}, 'objective.penalty=-1.0'),
  ],
)
def test_constraints_that_cannot_be(fields: dict[str, Any], message: str) -> None:
  config = configuration.execute(str(ROOT / 'experiments' / 'wgan.py'))
  config.objective.update(fields)
  with pytest.raises(ValueError, match=message):
    wgan.build(config, facts((8, 8, 1)))


@pytest.mark.parametrize(('used', 'other'), [('clip', 'penalty'), ('penalty', 'clip')])
def test_a_number_of_the_other_constraint_is_not_looked_at(used: str, other: str) -> None:
  config = configuration.execute(str(ROOT / 'experiments' / 'wgan.py'))
  config.objective.update({'constraint': used, other: 0.0})
  wgan.build(config, facts((8, 8, 1)))


def test_the_slope_is_taken_between_real_and_fake() -> None:
  """On the line from (1, 0) to (0, 1) coordinates add up to 1, whatever alpha is."""
  real, fake = jnp.array([1.0, 0.0]).reshape(2, 1, 1), jnp.array([0.0, 1.0]).reshape(2, 1, 1)
  for seed in range(5):
    found = wgan.slope(lambda x: 0.5 * x.sum() ** 2, real, fake, jax.random.key(seed))
    assert found == pytest.approx(np.sqrt(2.0), rel=1e-5)
