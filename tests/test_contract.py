"""What every objective promises, checked on every experiment file; both found, not listed."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from jaxgen import configuration, objectives
from jaxgen.devices import parallel
from jaxgen.errors import offered
from jaxgen.fields import flatten
from jaxgen.objectives.base import DEVICES, Example, Key, Metrics, Objective
from tests.draws import check_keys
from tests.examples import (
  EXPERIMENTS,
  TINY,
  dealt,
  example,
  examples,
  facts,
  on_one_device,
  one_of_each_objective,
)

ROOT = Path(__file__).parent.parent
SHAPE = (8, 8, 1)
BATCH = 40  # divisible by four devices times five critic steps, and more
FACTS = facts(SHAPE, images=BATCH, classes=10)
LABELS = np.arange(BATCH) % 10

# Adam's first step is the rate times a sign, which makes rounding visible where a gradient is 0.
PLAIN = {'name': 'sgd', 'learning_rate': 0.01, 'b1': 0.9, 'eps': 1e-8}
PLAIN |= {'schedule': 'constant', 'warmup_steps': 0}


@pytest.fixture(scope='module', params=one_of_each_objective())
def experiment(request: pytest.FixtureRequest) -> Iterator[str]:
  """One of each objective in turn, so that what was compiled for it serves all its tests."""
  yield request.param.stem
  for compiled in (built, training, two_updates):
    compiled.cache_clear()
  jax.clear_caches()


def config_of(experiment: str) -> ml_collections.ConfigDict:
  """An experiment's config, made tiny."""
  config = configuration.execute(str(ROOT / 'experiments' / f'{experiment}.py'))
  known = dict(flatten(config.to_dict()))
  config.update_from_flattened_dict({name: v for name, v in TINY.items() if name in known})
  return config


@cache
def built(experiment: str) -> Objective:
  """The objective, under an optimizer whose steps are proportional to the gradients."""
  config = config_of(experiment)
  for section in optimizers_of(config):
    config[section].update(PLAIN)
  return objectives.find_objective(config, FACTS)


def optimizers_of(config: ml_collections.ConfigDict) -> list[str]:
  return [name for name in config if name.endswith('optimizer')]


@cache
def pixels(count: int = BATCH) -> np.ndarray:
  """A bright bar on a dark ground at different places: uint8 (count, H, W, C)."""
  images = np.random.default_rng(0).integers(0, 40, (count, *SHAPE), np.uint8)
  images[np.arange(count), np.arange(count) % 8] += 200
  return images


@cache
def training(experiment: str) -> Any:
  """`train_steps` of the objective, compiled once for every number of devices."""
  return parallel.train_steps(built(experiment), 0, 0.9)


@cache
def two_updates(experiment: str, devices: int) -> tuple[parallel.TrainState, list[Metrics]]:
  """State and metrics after two updates on the first so many devices."""
  state, metrics = parallel.initial_state(built(experiment), 0), []
  for _ in range(2):
    state, values = training(experiment)(state, dealt(pixels()[None], devices, LABELS))
    metrics.append(jax.device_get(values))
  return jax.device_get(state), metrics


def looked_at(count: int = BATCH) -> Example:
  """The first images as models see them."""
  return examples(jnp.asarray(pixels(), jnp.float32)[:count] / 127.5 - 1.0, LABELS[:count])


def leaves(tree: Any) -> list[np.ndarray]:
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_every_objective_has_an_experiment() -> None:
  assert set(offered('jaxgen.objectives', 'build')) == {
    config_of(path.stem).objective.name for path in EXPERIMENTS
  }


def test_init_depends_on_the_key_alone(experiment: str) -> None:
  init = jax.jit(built(experiment).init)
  first, again, other = (init(jax.random.key(seed)) for seed in (0, 0, 1))
  for a, b in zip(leaves(first), leaves(again), strict=True):
    np.testing.assert_array_equal(a, b)
  assert any((a != b).any() for a, b in zip(leaves(first[0]), leaves(other[0]), strict=True))
  assert {leaf.dtype for leaf in leaves(first[0])} == {np.dtype('float32')}


def test_update_agrees_on_one_device_and_on_four(experiment: str) -> None:
  one, one_metrics = two_updates(experiment, 1)
  many, many_metrics = two_updates(experiment, 4)
  start = parallel.initial_state(built(experiment), 0).params
  pairs = zip(leaves(one.params), leaves(start), strict=True)
  assert max(np.abs(a - b).max() for a, b in pairs) > 1e-4  # or agreement would mean nothing
  for a, b in zip(leaves(one), leaves(many), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  for a, b in zip(one_metrics, many_metrics, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_update_returns_what_is_equal_on_every_device(experiment: str) -> None:
  """Tracing alone finds a missing pmean: unmapped outputs must not depend on the device."""
  step = parallel.train_step(built(experiment), 0, 0.9)
  mapped = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name=DEVICES)
  state = parallel.initial_state(built(experiment), 0)
  after, metrics = jax.eval_shape(
    mapped, state, jax.tree.map(lambda a: a[:, 0], dealt(pixels()[None], 4))
  )
  assert jax.tree.structure(after) == jax.tree.structure(state)
  for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)  # else the second update compiles anew
  assert {(m.shape, m.dtype) for m in metrics.values()} == {((), jnp.dtype('float32'))}


def test_steps_and_metrics(experiment: str) -> None:
  state, metrics = two_updates(experiment, 1)
  assert state.step == 2
  names = list(metrics[0])
  assert all(re.fullmatch(r'[A-Za-z0-9_/-]+', name) for name in names)
  assert len({name.lower() for name in names}) == len(names)  # files may not tell case apart
  assert all(np.isfinite(value).all() for values in metrics for value in values.values())
  if optimizers_of(config_of(experiment)):
    assert any(name.endswith('gradient_norm') and metrics[0][name] > 0 for name in names)


def test_update_never_leaves_the_device(experiment: str) -> None:
  state = jax.eval_shape(built(experiment).init, jax.random.key(0))
  keys = jax.random.split(jax.random.key(0), BATCH)
  program = jax.make_jaxpr(on_one_device(built(experiment)))(*state, looked_at(), keys)
  assert 'callback' not in str(program)


def test_no_key_is_used_twice(experiment: str) -> None:
  model = built(experiment)
  key, keys = jax.random.key(0), jax.random.split(jax.random.key(0), BATCH)
  shapes = jax.eval_shape(model.init, key)
  params, memory = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  check_keys(model.init, key)
  check_keys(on_one_device(model), params, memory, looked_at(), keys)
  check_keys(model.evaluate, params, example(looked_at(1).image[0]), key)
  check_keys(model.sample, params, jnp.int32(3), key)
  for shown in (*model.figures.values(), *filter(None, [model.diagnose])):
    check_keys(shown, params, looked_at(3), key)


def normal(key: Key) -> jax.Array:
  return jax.random.normal(key)


@pytest.mark.parametrize(
  ('careless', 'message'),
  [
    (lambda key: normal(jax.random.fold_in(key, 0)) + normal(jax.random.fold_in(key, 0)), 'two'),
    (lambda key: normal(jax.random.fold_in(key, 1)) + normal(jax.random.split(key)[1]), 'two'),
    (lambda key: normal(key) + normal(jax.random.fold_in(key, 0)), 'others are made'),
    (
      lambda key: jax.lax.scan(
        lambda x, i: (x + normal(jax.random.fold_in(key, i)), None),
        normal(jax.random.fold_in(key, 2)),
        jnp.arange(4),
      )[0],
      'two',
    ),
    (
      lambda key: jax.vmap(lambda i: normal(jax.random.fold_in(key, i // 2)))(jnp.arange(4)),
      'two',
    ),
  ],
)
def test_a_key_used_twice_is_caught(careless: Callable[[Key], jax.Array], message: str) -> None:
  with pytest.raises(AssertionError, match=message):
    check_keys(careless, jax.random.key(0))


def test_evaluate_is_a_function_of_image_and_key(experiment: str) -> None:
  model, params = built(experiment), two_updates(experiment, 1)[0].params
  evaluate = jax.jit(jax.vmap(model.evaluate, in_axes=(None, 0, 0)))
  few = looked_at(3)
  keys = jax.random.split(jax.random.key(0), 3)
  first, again = (evaluate(params, few, keys) for _ in range(2))
  for name, values in first.items():
    assert values.shape == (3,), name
    assert jnp.issubdtype(values.dtype, jnp.floating), name
    assert np.isfinite(values).all(), name
    np.testing.assert_array_equal(values, again[name])
  moved = evaluate(params, jax.tree.map(lambda a: a[::-1], few), keys[::-1])
  for name, values in first.items():
    np.testing.assert_allclose(moved[name][::-1], values, rtol=1e-4, atol=1e-5, err_msg=name)
  assert any(len(np.unique(values)) == 3 for values in first.values())


def test_samples_depend_on_their_key_alone(
  experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  """Bitwise the same on 1, 2 and 4 devices, among 3 or 11 others."""
  params, root = two_updates(experiment, 1)[0].params, jax.random.key(0)

  def draw(params: Any, index: jax.Array) -> jax.Array:
    return built(experiment).sample(params, index % 10, jax.random.fold_in(root, index))

  available, results = jax.local_devices(), {}
  for devices, count in ((1, 11), (2, 11), (4, 11), (4, 3)):
    with monkeypatch.context() as patch:
      patch.setattr(jax, 'local_device_count', lambda: devices)  # noqa: B023
      patch.setattr(jax, 'local_devices', lambda: available[:devices])  # noqa: B023
      chunks = parallel.map_images(draw, chunk=2)(params, np.arange(count))
      results[devices, count] = np.concatenate(list(chunks))
  reference = results[1, 11]
  assert reference.shape == (11, *SHAPE)
  assert reference.dtype == np.float32
  assert np.abs(reference).max() < 5.0  # [-1, 1] give or take an untrained network
  assert len(np.unique(reference.reshape(11, -1), axis=0)) == 11
  for (_, count), samples in results.items():
    np.testing.assert_array_equal(samples, reference[:count])


def test_figures_are_finite_pictures(experiment: str) -> None:
  params = two_updates(experiment, 1)[0].params
  few = looked_at(3)
  for name, figure in built(experiment).figures.items():
    pictures = jax.jit(figure)(params, few, jax.random.key(0))
    assert pictures.ndim == 5, name
    assert pictures.shape[2:] == SHAPE, name
    assert np.isfinite(pictures).all(), name
    assert np.std(pictures, axis=(2, 3, 4)).min() > 0, f'{name} has a blank picture'


def test_diagnosis_is_finite_numbers(experiment: str) -> None:
  diagnose = built(experiment).diagnose
  if diagnose:
    found = jax.jit(diagnose)(two_updates(experiment, 1)[0].params, looked_at(), jax.random.key(0))
    assert {(value.shape, value.dtype) for value in found.values()} == {((), jnp.dtype('float32'))}
    assert all(np.isfinite(value) for value in found.values())


def improves(model: Objective, step: Any, name: str) -> None:
  """After 60 updates on one batch, the metric at the first step's noise is lower than it was."""
  batch = dealt(pixels()[None], 1, LABELS)
  state, before = step(parallel.initial_state(model, 0), batch)
  for _ in range(60):
    state, _ = step(state, batch)
  _, after = step(state._replace(step=jnp.int32(0)), batch)
  assert after[name] < before[name]


def test_training_lowers_the_loss(experiment: str) -> None:
  """In a game, of either player against a frozen opponent; EM has no loss, and its own tests."""
  config = config_of(experiment)
  if 'critic_optimizer' not in config:
    if optimizers_of(config):
      improves(built(experiment), training(experiment), 'loss')
    return
  for player, section in (('critic', 'critic_optimizer'), ('generator', 'optimizer')):
    config = config_of(experiment)
    for name in ('critic_optimizer', 'optimizer'):
      config[name].update({'learning_rate': 3e-3 if name == section else 0.0})
    model = objectives.find_objective(config, FACTS)
    improves(model, parallel.train_steps(model, 0, 0.9), f'{player}/loss')
