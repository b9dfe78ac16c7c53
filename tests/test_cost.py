"""Costs are counted as they are by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration, objectives
from jaxgen.devices import cost, flops, parallel
from jaxgen.layers.convolution import convolve, kernel_gradient
from jaxgen.objectives.base import Objective
from tests.examples import dealt, facts

ROOT = Path(__file__).parent.parent


PARAMS = {'w': jnp.ones((3, 3)), 'unused': jnp.ones((9, 9))}


def evaluations(sample: Any) -> int | None:
  unlabelled = lambda params, label, key: sample(params, key)  # noqa: E731
  return cost.network_evaluations(Objective(None, None, None, unlabelled), PARAMS)


def test_network_evaluations_are_counted() -> None:
  """Two products with the matrix in each of seven turns."""

  def sample(params: Any, key: Any) -> Any:
    def step(x: Any, _: None) -> tuple[Any, None]:
      return jax.jit(jnp.dot)(params['w'], params['w'] @ x), None

    return jax.lax.scan(step, jax.random.normal(key, (3,)), None, length=7)[0]

  assert evaluations(sample) == 14
  assert cost.parameters(PARAMS) == 90
  kept = {'conditions': jnp.zeros(7), 'generator': PARAMS | {'batch_stats': jnp.zeros(5)}}
  assert cost.parameters(kept) == 90


def test_network_evaluations_that_the_sample_decides_are_not_claimed() -> None:
  """As many turns as it takes to converge; but those around such a loop are known."""

  def until_small(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.while_loop(lambda x: jnp.abs(x).max() > 1e-3, lambda x: 0.1 * w @ x, x)

  noise = lambda key: jax.random.normal(key, (3,))  # noqa: E731
  assert evaluations(lambda params, key: until_small(noise(key), params['w'])) is None
  assert evaluations(lambda params, key: jax.jit(until_small)(noise(key), params['w'])) is None
  other = jnp.eye(3)
  assert evaluations(lambda params, key: params['w'] @ until_small(noise(key), other)) == 1


def test_network_evaluations_of_the_longer_branch_count() -> None:
  def sample(params: Any, key: Any) -> Any:
    x = jax.random.normal(key, (3,))
    w = params['w']
    return w @ jax.lax.cond(x[0] > 0, lambda w: w @ (w @ (w @ x)), lambda w: w @ x, w)

  assert evaluations(sample) == 4


def test_a_sample_without_a_network_evaluates_none() -> None:
  assert evaluations(lambda params, key: jax.random.normal(key)) == 0


@pytest.mark.parametrize(
  ('experiment', 'evaluations'),
  [('vae', 1), ('gan', 1), ('wgan', 1), ('ddpm', 5), ('flow_matching', 9)],
)
def test_network_evaluations_of_experiments(experiment: str, evaluations: int) -> None:
  config = configuration.load(str(ROOT / f'experiments/{experiment}.py'), None, [])
  if 'sampler' in config:
    config.sampler.steps = 5
  model = objectives.find_objective(config, facts((8, 8, 1)))
  params = jax.eval_shape(model.init, jax.random.key(0))[0]
  assert cost.network_evaluations(model, params) == evaluations


def test_training_flops_of_dense_networks_are_those_of_their_matrices() -> None:
  """2 operations a weight forward, 2 for its gradient, 2 for the input's but of the first layer."""
  config = configuration.load(str(ROOT / 'experiments/vae.py:mnist'), None, [])
  model = objectives.find_objective(config, facts((28, 28, 1)))
  expected = 4 * 784 * 400 + 6 * (400 * 40 + 20 * 400 + 400 * 784)
  update = parallel.train_steps(model, config.seed, config.ema_decay)
  state = jax.eval_shape(lambda: parallel.initial_state(model, config.seed))
  devices = jax.device_count()
  batches = dealt(np.zeros((3, 8 * devices, 28, 28, 1), np.uint8), devices)
  assert cost.training_flops(update, state, batches) == expected


@pytest.mark.parametrize(
  ('function', 'products'),
  [
    (lambda a, b: a @ b, 1),
    (lambda a, b: a.T @ jnp.ones((3, 7)), 1),
    (lambda a, b: jax.vmap(jnp.matmul, in_axes=(0, None))(jnp.stack([a] * 4), b), 4),
    (lambda a, b: jnp.sin(a).sum() + b.sum(), 0),
    (lambda a, b: jax.jit(lambda a: jax.jit(jnp.matmul)(a, b) + a @ b)(a), 2),
    (lambda a, b: jax.lax.scan(lambda c, _: (c + a @ b, a @ b), jnp.zeros((3, 7)), None, 5), 10),
    (lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: (a + 1) @ b + a @ b), 2),
    (lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: (a + 1) @ b + a @ b, lambda: a @ b), 2),
    (lambda a, b: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: a @ b, jnp.ones((3, 7))), 1),
    (lambda a, b: jax.grad(lambda a, b: (a @ b).sum(), (0, 1))(a, b), 3),
    (lambda a, b: jax.grad(jax.checkpoint(lambda a: jnp.sin(a @ b).sum()))(a), 3),
  ],
)
def test_operations_are_twice_the_multiplications(function: Any, products: int) -> None:
  """In products of a matrix of 3 x 5 with one of 5 x 7; of a `while` loop at least one turn's."""
  assert flops.count(function, jnp.ones((3, 5)), jnp.ones((5, 7))) == products * 2 * 3 * 5 * 7


def test_operations_of_xlas_convolutions_are_counted() -> None:
  """Strided and in groups: every output pixel and channel sees a window of its group's channels."""

  def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    layout = ('NHWC', 'HWIO', 'NHWC')
    return jax.lax.conv_general_dilated(
      x, kernel, (2, 2), 'SAME', dimension_numbers=layout, feature_group_count=2
    )

  found = flops.count(convolve, jnp.ones((5, 8, 6, 4)), jnp.ones((3, 3, 2, 6)))
  assert found == 2 * (5 * 4 * 3 * 6) * (3 * 3 * 2)


def test_the_ceiling_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
  """Of 1024 x 1024 matrices here, by a clock on which it took 2 seconds, and others longer."""
  moments = iter(np.cumsum([0, 90, 1, 5, 1, 2, 1, 4, 1, 8, 1, 3]).tolist())
  monkeypatch.setattr(cost.time, 'perf_counter', lambda: next(moments))
  assert cost.matrix_product_ceiling() == 2 * 1024**3 / 2


def test_the_ceiling_and_the_peak_are_of_this_machine() -> None:
  assert 1e8 < cost.matrix_product_ceiling() < 1e16
  status = Path('/proc/self/status')
  if status.exists():  # Linux tells the same in kibibytes
    (line,) = (line for line in status.read_text().splitlines() if line.startswith('VmHWM'))
    assert cost.peak_memory() == pytest.approx(1024 * int(line.split()[1]), rel=0.05)
  assert 10 * 2**20 < cost.peak_memory() < 2**45


def test_speed_leaves_out_pauses_and_is_measured_against_the_best_ceiling_seen(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  now, ceilings = [100.0], iter([2000.0, 1000.0, 5000.0])
  monkeypatch.setattr(cost.time, 'monotonic', lambda: now[0])
  monkeypatch.setattr(cost, 'matrix_product_ceiling', lambda _: next(ceilings))
  speed = cost.Speed(16, 'float32')
  speed.flops = 10.0
  speed.begin(5)
  assert speed.until(5) == {}, 'no step was timed'
  now[0] += 2.0
  assert speed.until(15) == {'images_per_second': 80.0, 'model_flops_utilization': 800 / 2000}
  now[0] += 3.0
  speed.pause(1.0)
  speed.look()  # at a busy moment
  assert speed.until(25) == {'images_per_second': 80.0, 'model_flops_utilization': 800 / 2000}
  speed.look()
  now[0] += 0.1
  assert speed.until(35)['model_flops_utilization'] == 1.0, 'nothing is faster than the ceiling'
  assert speed.ceiling == pytest.approx(16_000)


def test_a_model_without_products_has_no_share_of_their_ceiling(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  monkeypatch.setattr(cost, 'matrix_product_ceiling', lambda _: pytest.fail('measured'))
  speed = cost.Speed(16, 'float32')
  speed.look()
  assert speed.until(3).keys() == {'images_per_second'}


def test_the_stopwatch_runs_while_a_chunk_is_made_and_not_while_it_is_used(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  clock = [0.0]
  monkeypatch.setattr(cost.time, 'perf_counter', lambda: clock[0])

  def chunks() -> Iterator[int]:
    for chunk in range(3):
      clock[0] += 2.0
      yield chunk
    clock[0] += 5.0

  watch, seen = cost.Stopwatch(), []
  for chunk in watch.time(chunks()):
    clock[0] += 100.0
    seen.append(chunk)
  assert seen == [0, 1, 2]
  assert watch.seconds == 11.0


def test_network_evaluations_are_of_the_largest_parameter_that_is_used() -> None:
  """A small one may serve more often, as the scale of a normalisation does."""

  def sample(params: Any, label: Any, key: Any) -> Any:
    return params['scale'] * (params['w'] @ (params['scale'] * params['scale'] * jnp.ones(3)))

  model = Objective(None, None, None, sample)
  assert cost.network_evaluations(model, PARAMS | {'scale': jnp.ones(3)}) == 1


def test_a_parameter_that_is_written_into_is_used_once() -> None:
  def sample(params: Any, key: Any) -> Any:
    return params['w'].at[0].add(1.0)

  assert evaluations(sample) == 1


def test_operations_of_the_house_own_convolutions_are_counted() -> None:
  """2 K K C for each number of the output; and the kernel's gradient, as many as the output."""
  x, kernel = jnp.zeros((2, 6, 5, 3)), jnp.zeros((3, 3, 3, 4))
  forward = 2.0 * (2 * 6 * 5 * 4) * (3 * 3 * 3)
  assert flops.count(lambda x: convolve(x, kernel, 1), x) == forward
  g = jnp.zeros((2, 6, 5, 4))
  assert flops.count(lambda x: kernel_gradient(x, g, 1), x) == forward
