"""pix2pix: both losses by hand, the best answer to L1, and noise by dropout."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.objectives.adversarial.image_to_image import Generator
from jaxgen.objectives.adversarial.pix2pix import pix2pix_losses
from jaxgen.objectives.base import Image, Objective
from tests.examples import facts

ROOT = Path(__file__).parent.parent.parent
SHAPE = (2, 2, 1)


class Constant(nn.Module):
  """G(x) = a number, whatever x is."""

  @nn.compact
  def __call__(self, x: Image, t: jax.Array) -> Image:
    return jnp.full(SHAPE, jnp.arctanh(self.param('value', nn.initializers.zeros, ())))


class Scaled(nn.Module):
  """f(x, y) = slope (x + 2 y), a logit for every pixel."""

  @nn.compact
  def __call__(self, pair: Image) -> jax.Array:
    slope = self.param('slope', nn.initializers.ones, ())
    return slope * (pair[..., 0] + 2 * pair[..., 1])


def given(value: float, slope: float) -> dict[str, Any]:
  players = {'generator': {'value': value}, 'critic': {'slope': slope}}
  return {name: {'params': jax.tree.map(jnp.float32, own)} for name, own in players.items()}


def test_losses_by_hand() -> None:
  """A logit for every pixel, and both players' means over them."""
  losses, key = pix2pix_losses(Generator(Constant()), Scaled(), 10.0), jax.random.key(0)
  x, y = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE))
  sigmoid = lambda logit: 1 / (1 + np.exp(-logit))  # noqa: E731
  real, fake = sigmoid(1.5 * (x + 2 * y)), sigmoid(1.5 * (x + 2 * 0.5))
  images = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
  value, metrics = losses['critic'](given(0.5, 1.5), *images, key)
  assert value == pytest.approx(-np.mean(np.log(real) + np.log(1 - fake)), rel=1e-5)
  assert metrics['told_apart'] == pytest.approx(np.mean(real > fake))
  value, metrics = losses['generator'](given(0.5, 1.5), *images, key)
  error = np.abs(y - 0.5).mean()
  assert metrics['l1'] == pytest.approx(error, rel=1e-5)
  assert value == pytest.approx(10 * error - np.log(fake).mean(), rel=1e-5)


@pytest.mark.parametrize(('slope', 'best'), [(0.0, 0.2), (1.0, 0.9)])
def test_the_best_answer_to_l1_is_the_median_of_what_may_follow(slope: float, best: float) -> None:
  """Of y that is -0.8, 0.2 or 0.9, with probabilities 0.3, 0.3 and 0.4; the mean is 0.18.

  Beyond the median L1 loses 0.2 a unit; a critic to whom brighter is better, 2 sigmoid(-2 c) > 0.28
  a unit at any answer c below 0.9, asks for that one.
  """
  loss = pix2pix_losses(Generator(Constant()), Scaled(), 1.0)['generator']
  ys = jnp.repeat(jnp.array([-0.8, 0.2, 0.9]), jnp.array([3, 3, 4]))

  def risk(value: jax.Array) -> jax.Array:
    players, x = given(value, slope), jnp.zeros(SHAPE)
    of_one = lambda y: loss(players, x, jnp.full(SHAPE, y), jax.random.key(0))[0]  # noqa: E731
    return jax.vmap(of_one)(ys).mean()

  answers = np.linspace(-0.95, 0.95, 191, dtype=np.float32)
  assert answers[np.argmin(jax.jit(jax.vmap(risk))(answers))] == pytest.approx(best, abs=1e-6)


def config(**network: Any) -> Any:
  fields = configuration.execute(str(ROOT / 'experiments' / 'pix2pix.py'))
  fields.network.update({'channels': 8, 'multipliers': (1,)} | network)
  fields.critic_network.hidden = (4,)
  return fields


def model(**network: Any) -> Objective:
  return objectives.find_objective(config(**network), facts((4, 4, 1)))


@pytest.mark.parametrize('dropout', [0.0, 0.5])
def test_noise_is_what_dropout_leaves(dropout: float) -> None:
  """Of one condition there are many translations with it, and one without."""
  built = model(dropout=dropout)
  params = jax.jit(built.init)(jax.random.key(0))[0]
  params['generator'] = jax.tree.map(lambda w: w + 0.1, params['generator'])  # none is zero
  translate = jax.jit(lambda key: built.decode(params, params['conditions'][0], key))
  one, again, other = (translate(jax.random.key(seed)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(one, again)
  assert (np.abs(one - other).max() > 1e-3) == bool(dropout)


@pytest.mark.parametrize(
  ('section', 'field', 'value', 'message'),
  [
    ('data', 'pair', 'none', "data.pair='none', and a model from picture to picture needs pairs"),
    ('objective', 'l1', -1.0, 'objective.l1=-1.0 must not be negative'),
    ('critic_network', 'hidden', (4, 4, 4), '4x4 image cannot be halved 3 times'),
  ],
)
def test_what_cannot_be_is_refused(section: str, field: str, value: Any, message: str) -> None:
  fields = config()
  fields[section][field] = value
  with pytest.raises(UserError, match=message):
    objectives.find_objective(fields, facts((4, 4, 1)))
