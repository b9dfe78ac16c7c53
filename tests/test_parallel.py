"""Devices and chunks never show in results, and randomness comes from the seed alone."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import configuration
from jaxgen.datasets.splits import Split
from jaxgen.devices import parallel
from jaxgen.images import from_uint8
from jaxgen.objectives.base import DEVICES, Example, Key, Metrics, Objective, Params, descend
from tests.examples import dealt

RATE = 0.1


def noise_of(key: Key) -> jax.Array:
  return jax.random.uniform(key)


def toy(pmean: bool = True) -> Objective:
  """Fits one number to the pixels' mean plus noise; without `pmean`, as a forgetful author would.

  The gradient of (w - x - eps)^2 / 2 is w - x - eps, so every step has a closed form.
  """
  optimizer = optax.sgd(RATE)

  def init(key: Key) -> tuple[Params, Any]:
    params = {'w': jax.random.normal(key)}
    return params, optimizer.init(params)

  def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
    target = example.image.mean() + noise_of(key)
    return 0.5 * (params['w'] - target) ** 2, {'target': target}

  def update(params: Params, opt_state: Any, examples: Example, keys: Any, step: Any) -> Any:
    if pmean:
      return descend(loss, optimizer, params, opt_state, examples, keys)
    gradients = jax.vmap(jax.grad(loss, has_aux=True), in_axes=(None, 0, 0))(params, examples, keys)
    updates, opt_state = optimizer.update(jax.tree.map(jnp.mean, gradients[0]), opt_state, params)
    return optax.apply_updates(params, updates), opt_state, {}

  return Objective(init, update, lambda *_: {}, lambda *_: jnp.zeros(()))


def batches(steps: int, size: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, (steps, size, 2, 3, 1), np.uint8)


def run(
  seed: int, devices: int, steps: int = 3, decay: float = 0.9, calls: int = 1
) -> tuple[parallel.TrainState, list[Metrics]]:
  """The toy's state after `calls` dispatches of `steps` updates, on so many devices."""
  update = parallel.train_steps(toy(), seed, decay)
  state, every = parallel.initial_state(toy(), seed), []
  for part in np.split(batches(calls * steps, 8), calls):
    state, metrics = update(state, dealt(part, devices))
    every.append(jax.device_get(metrics))
  return jax.device_get(state), every


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_shard_deals_images_out_like_cards(devices: int) -> None:
  steps, size = 3, 8
  images = np.arange(steps * size).reshape(steps, size)
  shards = parallel.shard(images, devices)
  assert shards.shape == (devices, steps, size // devices)
  for device in range(devices):
    for row in range(size // devices):
      np.testing.assert_array_equal(shards[device, :, row], images[:, row * devices + device])


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_training_equals_a_loop_over_images(devices: int) -> None:
  """Keys belong to places in the global batch; parameters and average follow their recursions."""
  state, (metrics,) = run(seed=7, devices=devices)
  w = float(parallel.initial_state(toy(), 7).params['w'])
  ema, root = w, parallel.purpose_key(7, 'train')
  for step, batch in enumerate(batches(3, 8)):
    noise = [
      noise_of(jax.random.fold_in(jax.random.fold_in(root, step), place)) for place in range(8)
    ]
    targets = np.asarray(from_uint8(jnp.asarray(batch))).mean((1, 2, 3)) + np.asarray(noise)
    np.testing.assert_allclose(metrics['target'][step], targets.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics['loss'][step], 0.5 * np.mean((w - targets) ** 2), rtol=1e-5)
    np.testing.assert_allclose(
      metrics['gradient_norm'][step], abs(w - targets.mean()), rtol=1e-4, atol=1e-6
    )
    w -= RATE * (w - targets.mean())
    np.testing.assert_allclose(metrics['parameter_norm'][step], abs(w), rtol=1e-5)
    d = min(0.9, (1 + step) / (10 + step))
    ema = d * ema + (1 - d) * w
  assert state.step == 3
  np.testing.assert_allclose(state.params['w'], w, rtol=1e-5)
  np.testing.assert_allclose(state.ema['w'], ema, rtol=1e-5)


def test_the_state_begins_at_step_0_with_the_type_that_it_keeps() -> None:
  """A number of Python's own would be another type, and the second dispatch compile anew."""
  state = parallel.initial_state(toy(), 0)
  assert (int(state.step), state.step.dtype, state.step.weak_type) == (0, jnp.int32, False)


def test_images_without_labels_have_none() -> None:
  """-1, as models know it."""
  split = Split(np.zeros((4, 2, 2, 1), np.uint8), None)
  np.testing.assert_array_equal(parallel.examples(split, np.arange(3)).label, -1)
  labelled = split._replace(labels=np.array([5, 6, 7, 8]))
  np.testing.assert_array_equal(parallel.examples(labelled, np.array([2, 0])).label, [7, 5])


def test_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
  """Where the system tells; else all, or one."""
  monkeypatch.setattr(os, 'sched_getaffinity', {0: {0, 1, 2}}.__getitem__, raising=False)
  assert parallel.cores() == 3
  monkeypatch.delattr(os, 'sched_getaffinity')
  for count, expected in ((6, 6), (None, 1)):
    monkeypatch.setattr(os, 'cpu_count', lambda: count)  # noqa: B023
    assert parallel.cores() == expected


def test_one_dispatch_of_many_steps_equals_many_dispatches() -> None:
  together, _ = run(seed=1, devices=2, steps=4)
  apart, every = run(seed=1, devices=2, steps=1, calls=4)
  assert len(every) == 4
  assert together.step == apart.step == 4
  np.testing.assert_allclose(together.params['w'], apart.params['w'], rtol=1e-6)
  np.testing.assert_allclose(together.ema['w'], apart.ema['w'], rtol=1e-6)


def test_same_seed_same_bits_other_seed_other_run() -> None:
  first, again, other = (run(seed, devices=4)[0] for seed in (3, 3, 4))
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
    assert a.tobytes() == b.tobytes()
  assert first.params['w'] != other.params['w']


@pytest.mark.parametrize('decay', [0.0, 0.5, 0.999])
def test_moving_average_recursion(decay: float) -> None:
  values = np.random.default_rng(1).normal(size=(30, 2))
  ema, expected = {'w': jnp.zeros(2)}, np.zeros(2)
  for step, value in enumerate(values):
    ema = parallel.moving_average(ema, {'w': jnp.asarray(value)}, decay, jnp.int32(step))
    d = min(decay, (1 + step) / (10 + step))
    expected = d * expected + (1 - d) * value
  np.testing.assert_allclose(ema['w'], expected, rtol=1e-5, atol=1e-6)


def test_moving_average_forgets_the_start() -> None:
  """The weight left on the initial value after n steps is prod min(decay, (1 + k) / (10 + k))."""
  ema = {'w': jnp.ones(1)}
  for step in range(10):
    ema = parallel.moving_average(ema, {'w': jnp.zeros(1)}, 0.9999, jnp.int32(step))
  expected = np.prod([(1 + k) / (10 + k) for k in range(10)])
  np.testing.assert_allclose(ema['w'], expected, rtol=1e-5)
  assert expected < 1e-4


def test_a_forgotten_pmean_is_caught() -> None:
  """The check that the contract applies to every objective does fail when it must."""

  def trace(objective: Objective) -> None:
    step = parallel.train_step(objective, 0, 0.9)
    mapped = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name=DEVICES)
    share = jax.tree.map(lambda array: array[:, 0], dealt(batches(1, 8), 2))
    jax.eval_shape(mapped, parallel.initial_state(objective, 0), share)

  trace(toy(pmean=True))
  with pytest.raises(ValueError, match='out_axes'):
    trace(toy(pmean=False))


def test_purposes_and_seeds_have_keys_of_their_own() -> None:
  keys = [
    parallel.purpose_key(seed, purpose)
    for seed in range(20)
    for purpose in ('init', 'train', 'sample', 'select', 'evaluate', 'figures')
  ]
  places = parallel.image_keys(keys[0], jnp.arange(1000))
  data = [tuple(np.asarray(jax.random.key_data(k))) for k in (*keys, *places)]
  assert len(set(data)) == len(data)


def affine(params: Params, x: jax.Array, index: jax.Array) -> dict[str, jax.Array]:
  return {'sum': params * x.sum() + index, 'index': index}


@pytest.mark.parametrize('devices', [1, 2, 4])
def test_map_images_pads_and_unpads_any_number(
  devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
  use_devices(devices, monkeypatch)
  over_images = parallel.map_images(affine, chunk=3)
  for count in (*range(1, 3 * devices + 2), 25):
    x, index = np.random.default_rng(count).normal(size=(count, 5)), np.arange(count)
    chunks = list(over_images(jnp.float32(2.0), x.astype(np.float32), index))
    assert [len(c['index']) for c in chunks[:-1]] == [3 * devices] * (len(chunks) - 1)
    np.testing.assert_array_equal(np.concatenate([c['index'] for c in chunks]), index)
    sums = np.concatenate([c['sum'] for c in chunks])
    np.testing.assert_allclose(sums, 2.0 * x.sum(1) + index, rtol=1e-5, atol=1e-5)


def use_devices(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
  """Lets the library see only the first so many of this process's devices."""
  devices = jax.local_devices()[:count]
  monkeypatch.setattr(jax, 'local_device_count', lambda: count)
  monkeypatch.setattr(jax, 'local_devices', lambda: devices)


def test_map_images_does_not_depend_on_chunks_or_devices(monkeypatch: pytest.MonkeyPatch) -> None:
  """Random draws belong to images: the same bits however they are spread."""

  def draw(params: Params, index: jax.Array) -> jax.Array:
    return params + jax.random.normal(jax.random.fold_in(jax.random.key(0), index), (3,))

  results = []
  for devices, chunk in ((1, 1), (1, 11), (2, 3), (4, 2), (4, 5)):
    with monkeypatch.context() as patch:
      use_devices(devices, patch)
      over_images = parallel.map_images(draw, chunk)
      results.append(np.concatenate(list(over_images(jnp.float32(1.0), np.arange(11)))))
  for result in results[1:]:
    np.testing.assert_array_equal(result, results[0])
  assert len(np.unique(results[0])) == 33


def test_a_host_state_is_placed_where_updates_leave_it() -> None:
  """Otherwise the second update would be compiled anew, for other places than the first."""
  update = parallel.train_steps(toy(), 0, 0.9)
  state = parallel.on_all_devices(jax.device_get(parallel.initial_state(toy(), 0)))
  places = [leaf.sharding for leaf in jax.tree.leaves(state)]
  state, _ = update(state, dealt(batches(1, 8), jax.device_count()))
  assert [leaf.sharding for leaf in jax.tree.leaves(state)] == places


@pytest.mark.parametrize(
  ('cores', 'batch', 'reduction', 'expected'),
  [
    (1, 64, 'mean', 1),
    (2, 64, 'mean', 2),
    (6, 64, 'mean', 4),
    (6, 60, 'mean', 6),
    (64, 64, 'mean', 8),
    (2, 63, 'mean', 1),
    (6, 48, 'ordered', 4),
  ],
)
def test_unasked_a_run_takes_as_many_cores_as_share_its_batch(
  monkeypatch: pytest.MonkeyPatch, cores: int, batch: int, reduction: str, expected: int
) -> None:
  monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(cores), raising=False)
  overrides = (f'--config.batch_size={batch}', f'--config.reduction={reduction}')
  config = configuration.load('experiments/ddpm.py', None, overrides)
  assert parallel.cpu_devices(config) == expected
  assert parallel.cpu_devices(config, processes=2) == 1
  config.cpu_devices = 3
  assert parallel.cpu_devices(config) == 3
  assert parallel.cpu_devices(config, processes=2) == 3


def test_what_is_not_averaged_is_the_newest() -> None:
  """A prefix of the tree says which parts are; whole numbers, as counters are, never are."""
  old = {'generator': {'w': jnp.zeros(2), 'count': jnp.int32(3)}, 'critic': {'w': jnp.zeros(2)}}
  new = {'generator': {'w': jnp.ones(2), 'count': jnp.int32(4)}, 'critic': {'w': jnp.ones(2)}}
  averaged = {'generator': True, 'critic': False}
  found = parallel.moving_average(old, new, 0.75, jnp.int32(1000), averaged)
  np.testing.assert_allclose(found['generator']['w'], 0.25)
  np.testing.assert_array_equal(found['critic']['w'], 1.0)
  assert (found['generator']['count'], found['generator']['count'].dtype) == (4, jnp.int32)
