"""Labels reach both players, and a sample is of the class that was asked for."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.networks import mlp
from jaxgen.objectives.adversarial import cgan
from jaxgen.objectives.adversarial.players import Players
from jaxgen.objectives.base import Example, Image, Label, draw_label
from tests.examples import example, facts

ROOT = Path(__file__).parent.parent.parent
SHAPE, CLASSES = (2, 2, 1), 3


def config() -> Any:
  fields = configuration.execute(str(ROOT / 'experiments' / 'cgan.py'))
  fields.network.hidden, fields.objective.latent = (8,), 2
  return fields


def test_generator_sees_the_label_beside_the_latent() -> None:
  class Telling(nn.Module):
    def __call__(self, z: jax.Array) -> jax.Array:
      return z

  seen = cgan.LabelledGenerator(Telling(), CLASSES).apply({}, jnp.array([0.5, -0.5]), jnp.int32(2))
  np.testing.assert_array_equal(seen, [0.5, -0.5, 0.0, 0.0, 1.0])


def test_critic_sees_a_channel_of_the_label() -> None:
  network = cgan.LabelledCritic(mlp.Encoder(1, ()), CLASSES)
  image = jnp.full(SHAPE, 0.5)
  variables = network.init(jax.random.key(0), image, jnp.int32(0))['params']
  planes = variables['Embed_0']['embedding']
  weights = variables['network']['Dense_0']['kernel'].reshape(2, 2, 2)
  for label in range(CLASSES):
    found = network.apply({'params': variables}, image, jnp.int32(label))
    plane = planes[label].reshape(2, 2)
    expected = (weights[..., 0] * 0.5 + weights[..., 1] * plane).sum()
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
  assert len(np.unique(planes, axis=0)) == CLASSES


def test_a_fake_image_has_the_label_of_the_real_one_beside_it() -> None:
  """The generator draws its label's number, and both players are asked with it."""

  class Drawing(nn.Module):
    def __call__(self, z: jax.Array, label: Label) -> Image:
      return jnp.full(SHAPE, jnp.arctanh(label / 10.0))

  class Judging(nn.Module):
    def __call__(self, image: Image, label: Label) -> jax.Array:
      return jnp.array([image.mean() + label])

  players = Players(Drawing(), Judging(), SHAPE, 2, (1, 1, 1))
  loss = lambda f, real, fake, key: (f(real), {'fake': f(fake)})  # noqa: E731
  for label in range(CLASSES):
    given = example(jnp.full(SHAPE, 0.25), label)
    value, metrics, _ = players.play(
      loss, {'generator': {}, 'critic': {}}, given, jax.random.key(0)
    )
    assert value == pytest.approx(0.25 + label)
    assert metrics['fake'] == pytest.approx(label / 10 + label, abs=1e-6)


def test_samples_follow_their_label() -> None:
  model = cgan.build(config(), facts(SHAPE, classes=CLASSES))
  assert model.conditional
  assert model.decode is None
  params, _ = model.init(jax.random.key(0))
  one, again, other = (model.sample(params, jnp.int32(y), jax.random.key(1)) for y in (0, 0, 1))
  np.testing.assert_array_equal(one, again)
  assert np.abs(one - other).max() > 1e-3


def test_labels_come_as_often_as_the_data_have_them() -> None:
  keys = jax.random.split(jax.random.key(0), 10_000)
  drawn = np.asarray(jax.vmap(lambda key: draw_label((10, 0, 30), key))(keys))
  shares = np.bincount(drawn, minlength=3) / len(drawn)
  np.testing.assert_allclose(shares, [0.25, 0.0, 0.75], atol=0.02)
  assert draw_label((), keys[0]) == -1


def test_data_without_labels_are_refused() -> None:
  with pytest.raises(UserError, match=r"'cgan' cannot be built .* these data have none"):
    objectives.find_objective(config(), facts(SHAPE))


def test_an_example_is_an_image_and_what_is_known_of_it() -> None:
  assert Example._fields == ('image', 'label', 'row')
