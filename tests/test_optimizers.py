"""Every optimizer's steps against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.objectives import optimizers

STEPS = 20


def walk(
  gradients: list[list[float]], start: tuple[float, ...] = (0.0, 0.0), **fields: float | str
) -> np.ndarray:
  """Parameters after each of these gradients, (len(gradients), len(start))."""
  optimizer = optimizers.find_optimizer(num_steps=STEPS, **fields)
  params = jnp.array(start)
  state = optimizer.init(params)
  path = []
  for gradient in gradients:
    updates, state = optimizer.update(jnp.array(gradient), state, params)
    params = optax.apply_updates(params, updates)
    path.append(params)
  return np.asarray(path)


@pytest.mark.parametrize('name', ['adam', 'adamw', 'adamax'])
def test_first_step_of_adam_is_the_rate_times_the_sign(name: str) -> None:
  path = walk([[3.0, -0.02]], name=name, learning_rate=0.1)
  np.testing.assert_allclose(path[0], [-0.1, 0.1], rtol=1e-5)


@pytest.mark.parametrize(('b1', 'b2'), [(0.5, 0.9), (None, None)])
def test_adam_follows_its_recursion(b1: float | None, b2: float | None) -> None:
  """By default with the decays of its paper."""
  decays = {'b1': b1, 'b2': b2} if b1 else {}
  b1, b2 = b1 or 0.9, b2 or 0.999
  gradients = np.array([[1.0, -2.0], [0.5, 4.0], [-3.0, 0.1]])
  mean, square, params = np.zeros(2), np.zeros(2), np.zeros(2)
  expected = []
  for i, g in enumerate(gradients, 1):
    mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g**2
    params = params - 0.1 * (mean / (1 - b1**i)) / np.sqrt(square / (1 - b2**i))
    expected.append(params)
  path = walk(gradients.tolist(), name='adam', learning_rate=0.1, **decays)
  np.testing.assert_allclose(path, expected, rtol=1e-5)


@pytest.mark.parametrize('name', ['adam', 'adamw', 'adamax', 'rmsprop'])
def test_epsilon_halves_steps_of_gradients_as_small_as_itself(name: str) -> None:
  fields = {'name': name, 'learning_rate': 0.1, 'eps': 1e-4}
  fields |= {'b1': 0.0, 'b2': 0.0} if name == 'rmsprop' else {}
  path = walk([[1e-4, -1e2]], **fields)
  np.testing.assert_allclose(path[0], [-0.05, 0.1], rtol=1e-4)


def test_adamax_divides_by_the_largest_gradient_of_late() -> None:
  """Kingma & Ba 2015, algorithm 2."""
  gradients = np.array([[1.0, -2.0], [0.5, 4.0], [-3.0, 0.1]])
  mean, largest, params, expected = np.zeros(2), np.zeros(2), np.zeros(2), []
  for i, g in enumerate(gradients, 1):
    mean, largest = 0.5 * mean + 0.5 * g, np.maximum(0.9 * largest, np.abs(g))
    params = params - 0.1 / (1 - 0.5**i) * mean / largest
    expected.append(params)
  path = walk(gradients.tolist(), name='adamax', learning_rate=0.1, b1=0.5, b2=0.9)
  np.testing.assert_allclose(path, expected, rtol=1e-5)


def test_sgd_without_momentum_subtracts_gradients() -> None:
  gradients = [[1.0, -2.0], [0.5, 4.0], [-3.0, 0.1]]
  path = walk(gradients, name='sgd', learning_rate=0.1)  # whatever b1 is by default
  np.testing.assert_allclose(path, -0.1 * np.cumsum(gradients, axis=0), rtol=1e-6)


def test_momentum_sums_decayed_gradients() -> None:
  path = walk([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]], name='momentum', learning_rate=0.1, b1=0.5)
  weights = np.array([1.0, 1.5, 1.75])[:, None]
  np.testing.assert_allclose(path, -0.1 * weights * np.array([[1.0, 2.0]]), rtol=1e-6)


def test_rmsprop_divides_by_the_root_of_the_mean_square() -> None:
  path = walk([[2.0, -0.5]], name='rmsprop', learning_rate=0.01, b1=0.0, b2=0.99)
  np.testing.assert_allclose(path[0], [-0.1, 0.1], rtol=1e-3)  # 0.01 / sqrt(1 - 0.99)


@pytest.mark.parametrize('size', [1e-6, 1e-3, 10.0])
def test_rmsprop_does_not_starve_small_gradients(size: float) -> None:
  """Arjovsky's code and PyTorch add epsilon to the root: after many equal gradients a step is the
  rate, whatever their size.
  """
  path = walk([[size, -size]] * 200, name='rmsprop', learning_rate=0.01, b1=0.0, b2=0.9)
  np.testing.assert_allclose(np.diff(path[-2:], axis=0), [[-0.01, 0.01]], rtol=0.02)


def test_rmsprop_with_momentum_follows_its_recursion() -> None:
  """The mean square decays by b2, and steps of it, as a heavy ball's, by b1."""
  gradients = np.array([[1.0, -2.0], [0.5, 4.0], [-3.0, 0.1]])
  square, velocity, params, expected = np.zeros(2), np.zeros(2), np.zeros(2), []
  for g in gradients:
    square = 0.9 * square + 0.1 * g**2
    velocity = 0.5 * velocity + 0.1 * g / np.sqrt(square)
    params = params - velocity
    expected.append(params)
  path = walk(gradients.tolist(), name='rmsprop', learning_rate=0.1, b1=0.5, b2=0.9)
  np.testing.assert_allclose(path, expected, rtol=1e-5)


def test_adamw_decays_matrices_apart_from_gradients_and_leaves_vectors() -> None:
  optimizer = optimizers.find_optimizer('adamw', 0.1, STEPS, weight_decay=0.5)
  start = {'kernel': jnp.array([[2.0, -4.0]]), 'bias': jnp.array([3.0]), 'scale': jnp.ones(2)}
  params, state = start, optimizer.init(start)
  for _ in range(3):
    updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
    params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params['kernel'], start['kernel'] * 0.95**3, rtol=1e-6)
  for name in ('bias', 'scale'):
    np.testing.assert_array_equal(params[name], start[name])


def test_adamw_leaves_vectors_also_where_blocks_have_theirs_along_a_first_axis() -> None:
  optimizer = optimizers.find_optimizer('adamw', 0.1, STEPS, weight_decay=0.5)
  start = {'blocks': {'kernel': jnp.ones((3, 2, 2)), 'bias': jnp.ones((3, 2))}}
  still = jax.tree.map(jnp.zeros_like, start)
  updates, _ = optimizer.update(still, optimizer.init(start), start)
  np.testing.assert_allclose(updates['blocks']['kernel'], -0.05, rtol=1e-6)
  np.testing.assert_array_equal(updates['blocks']['bias'], 0.0)


@pytest.mark.parametrize(('gradient', 'norm'), [([30.0, 40.0], 5.0), ([0.3, 0.4], 0.5)])
def test_clipping_bounds_the_norm_and_keeps_the_direction(
  gradient: list[float], norm: float
) -> None:
  path = walk([gradient], name='sgd', learning_rate=1.0, clip_norm=5.0)
  np.testing.assert_allclose(path[0], -norm * np.array([0.6, 0.8]), rtol=1e-6)


def rates(**fields: float | str) -> np.ndarray:
  """The learning rate of every step: what plain SGD moves under a gradient of 1."""
  path = walk([[1.0]] * STEPS, start=(0.0,), name='sgd', learning_rate=0.5, **fields)
  return -np.diff(path[:, 0], prepend=0.0)


def test_constant_rate() -> None:
  np.testing.assert_allclose(rates(), 0.5, rtol=1e-5)


def test_warmup_rises_linearly_from_zero() -> None:
  expected = 0.5 * np.minimum(np.arange(STEPS) / 5, 1.0)
  np.testing.assert_allclose(rates(warmup_steps=5), expected, atol=1e-6)


@pytest.mark.parametrize('warmup', [0, 5])
def test_cosine_decays_to_zero_after_warmup(warmup: int) -> None:
  step = np.arange(STEPS)
  decay = 0.25 * (1 + np.cos(np.pi * (step - warmup) / (STEPS - warmup)))
  expected = np.where(step < warmup, 0.5 * step / max(warmup, 1), decay)
  actual = rates(schedule='cosine', warmup_steps=warmup)
  np.testing.assert_allclose(actual, expected, atol=1e-6)
  assert actual.max() == pytest.approx(0.5)


@pytest.mark.parametrize('warmup', [0, 6])
def test_other_schedules_decay_after_warmup(warmup: int) -> None:
  """A line, a power, and cosines of two, four and eight parts of the updates that are left."""
  step, left = np.arange(warmup, STEPS), STEPS - warmup
  done = (step - warmup) / left
  sevenths = {20: (3, 6, 11), 14: (2, 4, 8)}[left]
  cosines = [0.25 * (1 + np.cos(np.pi * np.arange(n) / n)) for n in sevenths]
  expected = {
    'linear': 0.5 * (1 - done),
    'exponential': 0.5 * 1000**-done,
    'warm_restarts': np.concatenate(cosines),
  }
  for schedule, decay in expected.items():
    actual = rates(schedule=schedule, warmup_steps=warmup)
    np.testing.assert_allclose(actual[warmup:], decay, atol=1e-6)
    np.testing.assert_allclose(actual[:warmup], 0.5 * np.arange(warmup) / 6, atol=1e-6)


def test_the_rate_that_is_logged_is_the_one_that_was_used() -> None:
  section = {'learning_rate': 0.5, 'warmup_steps': 5, 'schedule': 'cosine'}
  own = section | {'learning_rate': 0.25, 'schedule': 'constant'}
  config = {'num_steps': STEPS, 'optimizer': section}
  config |= dict.fromkeys(('critic_optimizer', 'discriminator_optimizer'), own)
  used = rates(schedule='cosine', warmup_steps=5)
  for step in range(1, STEPS + 1):
    found = optimizers.learning_rates(config, step)
    assert found['learning_rate'] == pytest.approx(used[step - 1], abs=1e-6)
    for player in ('critic', 'discriminator'):
      rate = found[f'{player}_learning_rate']
      assert rate == pytest.approx(0.25 * min(1.0, (step - 1) / 5))
  assert optimizers.learning_rates({'num_steps': STEPS}, 1) == {}
  assert optimizers.learning_rates({'num_steps': 1, 'optimizer': {'name': 'mine'}}, 1) == {}


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'name': 'adan'}, "optimizer.name='adan'; choose one of adam"),
    (
      {'name': 'adam', 'schedule': 'step'},
      "optimizer.schedule='step'; choose one of constant, cosine, linear",
    ),
    ({'name': 'adam', 'weight_decay': 0.1}, 'use adamw'),
    ({'name': 'sgd', 'eps': 1e-4}, 'optimizer.eps=0.0001 has no effect on sgd'),
  ],
)
def test_what_cannot_be_built_says_what_can(fields: dict[str, object], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    optimizers.find_optimizer(learning_rate=0.1, num_steps=STEPS, **fields)


def test_an_unknown_field_is_an_error() -> None:
  with pytest.raises(TypeError, match='learning_rat'):
    optimizers.find_optimizer(name='adam', learning_rat=0.1, num_steps=STEPS)


def test_state_of_a_tree_of_parameters_is_float32() -> None:
  optimizer = optimizers.find_optimizer('adam', 0.1, STEPS, clip_norm=1.0, warmup_steps=2)
  params = {'kernel': jnp.ones((2, 3)), 'bias': jnp.ones(3)}
  updates, state = optimizer.update(params, optimizer.init(params), params)
  assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype('float32')}
  floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
  assert {x.dtype for x in floats} == {jnp.dtype('float32')}
