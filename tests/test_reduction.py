"""How a run averages over its batch reaches every average, and leaves no trace of the devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.devices import parallel
from jaxgen.objectives import base
from jaxgen.objectives.base import (
  DEVICES,
  REDUCTIONS,
  Example,
  Image,
  Key,
  Objective,
  Params,
  average,
  descend,
)
from tests import test_contract as contract
from tests.examples import NONE, dealt, family_of, one_of_each

SHAPE, BATCH = (2, 2, 1), 32
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (BATCH, *SHAPE), np.uint8)


def moments() -> Objective:
  """Estimates mean and mean square of the pixels plus noise, without a gradient."""

  def statistics(image: Image, key: Key) -> dict[str, jax.Array]:
    noisy = image + jax.random.normal(key, SHAPE)
    return {'mean': noisy, 'square': noisy.ravel()[:, None] * noisy.ravel()[None]}

  def update(params: Params, state: Any, examples: Example, keys: Any, step: Any) -> Any:
    new = average(statistics, examples.image, keys)
    return jax.tree.map(lambda old, now: 0.5 * (old + now), params, new), state, {}

  def init(key: Key) -> tuple[Params, Any]:
    return {'mean': jnp.zeros(SHAPE), 'square': jnp.zeros((4, 4))}, ()

  return Objective(init, update, lambda *_: {}, lambda *_: jnp.zeros(SHAPE))


def after_two(
  model: Objective, reduction: str, devices: int, pixels: np.ndarray, labels: Any = NONE
) -> list[bytes]:
  """The bits of the parameters after two updates."""
  step = parallel.train_steps(model, 0, 0.9, reduction)
  state = parallel.initial_state(model, 0)
  for _ in range(2):
    state, _ = step(state, dealt(pixels[None], devices, labels))
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(jax.device_get(state.params))]


@pytest.mark.parametrize('reduction', REDUCTIONS)
def test_average_is_the_mean_over_the_whole_batch(reduction: str) -> None:
  values = jnp.asarray(RNG.normal(size=(4, 8, 3)), jnp.float32)

  def mean_of_squares(share: jax.Array) -> dict[str, jax.Array]:
    with base.reducing(reduction):
      return average(lambda value: {'square': value**2, 'first': value[0]}, share)

  found = jax.pmap(mean_of_squares, axis_name=DEVICES, out_axes=None)(values)
  flat = np.asarray(values, np.float64).reshape(32, 3)
  np.testing.assert_allclose(found['square'], (flat**2).mean(0), rtol=1e-6)
  np.testing.assert_allclose(found['first'], flat[:, 0].mean(), rtol=1e-5)


def test_an_objective_that_averages_on_its_own_is_averaged_in_order() -> None:
  one, two, four = (after_two(moments(), 'ordered', devices, PIXELS) for devices in (1, 2, 4))
  assert one == two == four


def test_an_inner_jit_averages_as_the_run_does() -> None:
  """What was traced under one reduction must not be used again under the other."""

  @jax.jit
  def inner(params: Params, state: Any, images: jax.Array) -> Any:
    return descend(lambda w, image: ((w - image.mean()) ** 2, {}), sgd, params, state, images)

  sgd = optax.sgd(0.1)
  programs = {}
  for reduction in ('mean', 'ordered'):
    with base.reducing(reduction):
      step = jax.vmap(inner, in_axes=(None, None, 0), out_axes=None, axis_name=DEVICES)
      state = sgd.init(jnp.float32(0))
      images = jnp.zeros((4, 4, *SHAPE))
      programs[reduction] = str(jax.make_jaxpr(step)(jnp.float32(0), state, images))
  assert programs['mean'] != programs['ordered']
  assert 'scan' in programs['ordered']
  assert 'scan' not in programs['mean']


FAMILIES = [path.stem for path in one_of_each(family_of)]


@pytest.mark.slow
@pytest.mark.parametrize('experiment', [*FAMILIES, 'wgan'])
def test_ordered_holds_for_every_family(experiment: str) -> None:
  """Bitwise, on 1 device and on 4."""
  model = contract.built(experiment)
  # Divisible by 16 blocks and 5 critic steps, all rows different.
  pixels, labels = (np.concatenate([a, a]) for a in (contract.pixels(), contract.LABELS))
  one, four = (after_two(model, 'ordered', devices, pixels, labels) for devices in (1, 4))
  assert one == four
  jax.clear_caches()  # a process holds so much compiled code, and no more


def test_what_sees_the_whole_batch_is_refused_where_blocks_are_apart() -> None:
  with pytest.raises(NameError, match='examples'):
    after_two(contract.built('dcgan'), 'ordered', 1, np.concatenate([contract.pixels()] * 2))
