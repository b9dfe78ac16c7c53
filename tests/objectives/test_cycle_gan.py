"""CycleGAN: losses of maps that are known, and of pictures in any order."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.objectives.adversarial.cycle_gan import cycle_gan_losses
from jaxgen.objectives.adversarial.image_to_image import Generator, PatchCritic
from jaxgen.objectives.base import Image, Metrics
from tests.examples import EXPERIMENTS, example, facts

SHAPE, KEY = (4, 4, 1), jax.random.key(0)
X, Y = (
  jax.random.uniform(jax.random.key(seed), SHAPE, minval=-0.45, maxval=0.45) for seed in (1, 2)
)


class Multiplied(nn.Module):
  """G(x) = factor x."""

  @nn.compact
  def __call__(self, x: Image, t: jax.Array) -> Image:
    return jnp.arctanh(self.param('factor', nn.initializers.ones, ()) * x)


class Scaled(nn.Module):
  """f(x) = slope x, an output for every pixel."""

  @nn.compact
  def __call__(self, image: Image) -> jax.Array:
    return self.param('slope', nn.initializers.ones, ()) * image[..., 0]


def given(there: float, back: float) -> dict[str, Any]:
  """Maps by these factors, and critics of slopes 3 and 5."""
  wrapped = lambda name, value: {'params': {name: jnp.float32(value)}}  # noqa: E731
  return {
    'generator': {'there': wrapped('factor', there), 'back': wrapped('factor', back)},
    'critic': {'x': wrapped('slope', 3.0), 'y': wrapped('slope', 5.0)},
  }


def losses(player: str, params: Any, x: Image = X, y: Image = Y) -> tuple[float, Metrics]:
  of = cycle_gan_losses(Generator(Multiplied()), Scaled(), cycle=10.0, identity=0.5)
  return of[player](params, x, y, KEY)


@pytest.mark.parametrize(('there', 'back'), [(2.0, 0.5), (-1.0, -1.0)])
def test_maps_that_undo_each_other_have_no_cycle_loss(there: float, back: float) -> None:
  assert losses('generator', given(there, back))[1]['cycle'] == pytest.approx(0.0, abs=1e-6)
  wrong = losses('generator', given(there, 1.1 * back))[1]['cycle']
  assert wrong == pytest.approx(0.1 * (np.abs(X).mean() + np.abs(Y).mean()), rel=1e-4)


def test_losses_by_hand() -> None:
  """Squares of critics' outputs, and of the maps x -> 2 x and y -> y / 2."""
  x, y, params = np.asarray(X, float), np.asarray(Y, float), given(2.0, 0.5)
  value, metrics = losses('critic', params)
  of_x, of_y = (3 * x - 1) ** 2 + (3 * y / 2) ** 2, (5 * y - 1) ** 2 + (5 * 2 * x) ** 2
  assert value == pytest.approx(of_x.mean() + of_y.mean(), rel=1e-5)
  apart = np.mean(3 * x > 3 * y / 2) + np.mean(5 * y > 5 * 2 * x)
  assert metrics['told_apart'] == pytest.approx(apart / 2)
  value, metrics = losses('generator', params)
  identity = np.abs(2 * y - y).mean() + np.abs(x / 2 - x).mean()
  assert metrics['identity'] == pytest.approx(identity, rel=1e-5)
  fooled = (5 * 2 * x - 1) ** 2 + (3 * y / 2 - 1) ** 2
  assert value == pytest.approx(fooled.mean() + 10 * 0.5 * identity, rel=1e-4)


@pytest.mark.parametrize('player', ['critic', 'generator'])
def test_nothing_is_learned_from_which_pictures_stand_side_by_side(player: str) -> None:
  """The mean loss of a batch, and so its gradient, is that of the batch with any other pairs."""
  network = PatchCritic((2,))
  of = cycle_gan_losses(Generator(Multiplied()), network, cycle=10.0, identity=0.5)[player]
  params = given(1.5, 0.7)
  params['critic'] = {n: network.init(jax.random.key(i), X) for i, n in enumerate(('x', 'y'))}
  xs, ys = (jax.random.uniform(jax.random.key(s), (5, *SHAPE), maxval=0.4) for s in (1, 2))

  @jax.jit
  def slopes(xs: jax.Array, ys: jax.Array) -> Any:
    over = jax.vmap(lambda params, x, y: of(params, x, y, KEY)[0], in_axes=(None, 0, 0))
    return jax.value_and_grad(lambda params: over(params, xs, ys).mean())(params)

  side_by_side, apart = slopes(xs, ys), slopes(xs, ys[jnp.array([3, 0, 4, 2, 1])])
  for a, b in zip(jax.tree.leaves(side_by_side), jax.tree.leaves(apart), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def config(**fields: Any) -> Any:
  path = next(path for path in EXPERIMENTS if path.stem == 'cycle_gan')
  found = configuration.execute(str(path))
  found.network.update({'channels': 8, 'multipliers': (1,)})
  found.critic_network.hidden = (4,)
  found.objective.update(fields)
  return found


@pytest.mark.slow
def test_both_ways_are_compared_with_the_truth() -> None:
  """Networks that have learned nothing translate all to grey, 0."""
  fields = config()
  fields.data.pair = 'half'
  model = objectives.find_objective(fields, facts(SHAPE))
  params, _ = jax.jit(model.init)(KEY)
  y = np.full(SHAPE, 0.5)
  found = jax.jit(model.evaluate)(params, example(y), KEY)
  expected = {'l1': 0.5, 'l1_untranslated': 0.75, 'l1_back': 0.75}
  assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)
  params['generator']['back'] = jax.tree.map(jnp.ones_like, params['generator']['back'])
  moved = jax.jit(model.evaluate)(params, example(y), KEY)
  assert moved['l1_back'] != found['l1_back']
  assert moved['l1'] == found['l1']


def test_weights_below_zero_are_refused() -> None:
  with pytest.raises(UserError, match=r'objective.cycle=10.0 and objective.identity=-1.0 must not'):
    objectives.find_objective(config(identity=-1.0), facts(SHAPE))
