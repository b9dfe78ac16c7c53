"""Costs are counted as they are by hand."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxgen import configuration, cost, objective, parallel
from jaxgen.objective import Objective

ROOT = Path(__file__).parent.parent


def test_network_evaluations_are_counted() -> None:
  import jax.numpy as jnp

  def sample(params: Any, key: Any) -> Any:
    def step(x: Any, _: None) -> tuple[Any, None]:
      return jax.jit(jnp.dot)(params['w'], params['w'] @ x), None

    return jax.lax.scan(step, jax.random.normal(key, (3,)), None, length=7)[0]

  params = {'w': jnp.ones((3, 3)), 'unused': jnp.ones((9, 9))}
  model = Objective(None, None, None, sample)
  assert cost.network_evaluations(model, params) == 14
  assert cost.parameters(params) == 90


@pytest.mark.parametrize(
  ('experiment', 'evaluations'),
  [('vae', 1), ('gan', 1), ('wgan', 1), ('ddpm', 5), ('flow_matching', 10)],
)
def test_network_evaluations_of_experiments(experiment: str, evaluations: int) -> None:
  config = configuration.load(str(ROOT / f'experiments/{experiment}.py'), None, [])
  if 'sampler' in config:
    config.sampler.steps = 5
  model = objective.build(config, (8, 8, 1))
  params = jax.eval_shape(model.init, jax.random.key(0))[0]
  assert cost.network_evaluations(model, params) == evaluations


def test_training_flops_of_dense_networks_are_those_of_their_matrices() -> None:
  """2 operations a weight forward, 2 for its gradient, 2 for the input's but of the first layer."""
  config = configuration.load(str(ROOT / 'experiments/vae.py:mnist'), None, [])
  model = objective.build(config, (28, 28, 1))
  expected = 4 * 784 * 400 + 6 * (400 * 40 + 20 * 400 + 400 * 784)
  update = parallel.train_steps(model, config.seed, config.ema_decay)
  state = jax.eval_shape(lambda: parallel.initial_state(model, config.seed))
  batches = jax.ShapeDtypeStruct((jax.device_count(), 3, 8, 28, 28, 1), np.uint8)
  assert cost.training_flops(update, state, batches) == expected


def test_the_ceiling_and_the_peak_are_of_this_machine() -> None:
  assert 1e8 < cost.matrix_product_ceiling() < 1e16
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
