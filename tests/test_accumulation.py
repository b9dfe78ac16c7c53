"""Parts of a batch, one after another, make the update of the whole batch in less memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.devices import parallel
from jaxgen.objectives.base import DEVICES, accumulating, average, descend, each
from tests import test_contract as contract
from tests.examples import dealt, family_of, one_of_each

RNG = np.random.default_rng(0)
FAMILIES = [path.stem for path in one_of_each(family_of)]


@pytest.mark.parametrize('devices', [1, 4])
def test_the_mean_of_parts_is_that_of_the_whole_and_each_keeps_its_place(devices: int) -> None:
  values = jnp.asarray(RNG.normal(size=(devices, 6, 3)), jnp.float32)

  def both(share: jax.Array) -> tuple[Any, Any]:
    with accumulating(3):
      mean = average(lambda value: {'square': value**2, 'first': value[0]}, share)
      return mean, each(lambda value: value.sum(), share)

  call = jax.pmap(both, axis_name=DEVICES, out_axes=(None, 0), devices=jax.devices()[:devices])
  mean, own = call(values)
  flat = np.asarray(values, np.float64).reshape(-1, 3)
  np.testing.assert_allclose(mean['square'], (flat**2).mean(0), rtol=1e-5)
  np.testing.assert_allclose(mean['first'], flat[:, 0].mean(), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(own, values.sum(-1), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('experiment', [*FAMILIES, 'wgan'])
def test_an_accumulated_update_is_the_update(experiment: str) -> None:
  """Two updates in four parts each: state and metrics are those of undivided ones, to rounding."""
  model, found = contract.built(experiment), []
  for accumulate in (1, 4):
    step = parallel.train_steps(model, 0, 0.9, accumulate=accumulate)
    state, every = parallel.initial_state(model, 0), []
    for _ in range(2):
      state, metrics = step(state, dealt(contract.pixels()[None], 1, contract.LABELS))
      every.append(metrics)
    found.append(jax.device_get((state, every)))
  (whole, metrics), (parts, others) = found
  for a, b in zip(contract.leaves(whole), contract.leaves(parts), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  for a, b in zip(metrics, others, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)
  contract.built.cache_clear()
  jax.clear_caches()


def test_one_part_at_a_time_is_in_memory() -> None:
  """Of a layer whose outputs are far larger than its images and weights."""
  optimizer, weights = optax.sgd(0.1), jnp.ones((8, 4096))
  images = jnp.ones((64, 8))

  def update(weights: jax.Array, images: jax.Array) -> jax.Array:
    loss = lambda w, image: (jnp.tanh(jnp.tanh(image @ w) ** 2).sum(), {})  # noqa: E731
    return descend(loss, optimizer, weights, optimizer.init(weights), images)[0]

  def memory(parts: int) -> int:
    def run(weights: jax.Array, images: jax.Array) -> jax.Array:
      with accumulating(parts):
        return update(weights, images)

    mapped = jax.vmap(run, in_axes=None, out_axes=None, axis_name=DEVICES, axis_size=1)
    compiled = jax.jit(mapped).lower(weights, images).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert memory(16) < 0.4 * memory(1)
