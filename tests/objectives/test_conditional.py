"""Labels reach both players, and a sample is of the class that was asked for."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.networks import mlp
from jaxgen.objectives.adversarial import conditional
from jaxgen.objectives.adversarial.players import Players
from jaxgen.objectives.base import Example, Image, Label, draw_label
from tests.examples import example, facts

ROOT = Path(__file__).parent.parent.parent
SHAPE, CLASSES = (2, 2, 1), 3


def config() -> Any:
  fields = configuration.execute(str(ROOT / 'experiments' / 'cgan.py'))
  fields.network.name, fields.network.hidden, fields.objective.latent = 'mlp', (8,), 2
  return fields


def test_generator_sees_the_label_beside_the_latent() -> None:
  class Telling(nn.Module):
    def __call__(self, z: jax.Array) -> jax.Array:
      return z

  seen = conditional.LabelledGenerator(Telling(), CLASSES).apply(
    {}, jnp.array([0.5, -0.5]), jnp.int32(2)
  )
  np.testing.assert_array_equal(seen, [0.5, -0.5, 0.0, 0.0, 1.0])


def test_critic_sees_a_channel_of_the_label() -> None:
  network = conditional.LabelledCritic(mlp.Encoder(1, ()), CLASSES)
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


class Layered(nn.Module):
  """Outputs that are known: pixel by pixel, the image itself."""

  def __call__(self, image: Image) -> jax.Array:
    return image.ravel()


def test_critic_projects_onto_the_label() -> None:
  """psi(phi) + e_y . phi of features by hand, of the weights of a last layer without a bias."""
  network = conditional.ProjectionCritic(mlp.Encoder(1 + CLASSES, (8,)), CLASSES)
  rng, image = np.random.default_rng(0), jnp.full(SHAPE, 0.5)
  variables = network.init(jax.random.key(0), image, jnp.int32(0))['params']
  first, last = (variables['network'][f'Dense_{i}'] for i in range(2))
  first['bias'] = jnp.asarray(rng.normal(size=8), jnp.float32)
  phi = np.maximum(0.0, np.full(4, 0.5) @ first['kernel'] + first['bias'])
  psi, e = np.split(np.asarray(last['kernel'], float), [1], axis=1)
  assert e.shape == (8, CLASSES)
  for label in range(CLASSES):
    found = network.apply({'params': variables}, image, jnp.int32(label))
    np.testing.assert_allclose(found, psi[:, 0] @ phi + e[:, label] @ phi, rtol=1e-5)


def test_best_projection_critic_is_the_log_ratio_of_densities_and_of_classes() -> None:
  """Of two Gaussians a class, whose f is known: log p(x) / q(x) + log p(y | x) / q(y | x)."""
  means, x = np.array([-1.0, 0.0, 2.0]), 0.7
  real, fake = (stats.norm(means + shift).pdf(x) / CLASSES for shift in (0.0, 0.5))
  psi = np.log(real.sum() / fake.sum())
  e = np.log(real / real.sum()) - np.log(fake / fake.sum())
  critic = conditional.ProjectionCritic(Layered(), CLASSES)
  image = jnp.asarray([psi, *e], jnp.float32).reshape(2, 2, 1)
  for label in range(CLASSES):
    found = critic.apply({}, image, jnp.int32(label))
    np.testing.assert_allclose(found, np.log(real / fake)[label], rtol=1e-4)


def test_classifying_critic_tells_probabilities_apart_from_its_output() -> None:
  logits = np.array([0.3, -1.2, 2.0])
  critic = conditional.ClassifyingCritic(Layered(), CLASSES)
  image = jnp.asarray([7.0, *logits], jnp.float32).reshape(2, 2, 1)
  for label in range(CLASSES):
    f, nats = critic.apply({}, image, jnp.int32(label))
    assert f == 7.0
    assert np.exp(nats) == pytest.approx(softmax(logits)[label], rel=1e-5)


@pytest.mark.parametrize(('of_real', 'nats'), [(True, 2.0), (False, 1.0)])
def test_players_minimise_the_cross_entropy_of_an_image(of_real: bool, nats: float) -> None:
  """Beside their loss of f alone."""
  f = lambda image: jnp.stack([image.mean(), -image.sum()])  # noqa: E731
  loss = lambda f, real, fake, key: (f(real) - 3.0 * f(fake), {'f': f(fake)})  # noqa: E731
  real, fake = jnp.full(SHAPE, 0.5), jnp.full(SHAPE, 0.25)
  value, metrics = conditional.classifying(loss, of_real)(f, real, fake, jax.random.key(0))
  assert metrics == {'f': 0.25, 'class_nats': nats}
  assert value == pytest.approx(0.5 - 0.75 + nats)


def adversarial_config(**fields: Any) -> Any:
  found = configuration.execute(str(ROOT / 'experiments' / 'hinge_gan.py'))
  found.objective.update({'latent': 2} | fields)
  found.network.name, found.network.hidden = 'mlp', (8,)
  return found


@pytest.mark.parametrize(
  ('way', 'constraint'),
  [('concatenation', 'spectral'), ('projection', 'r1'), ('auxiliary', 'r1')],
)
def test_any_way_of_taking_labels_is_played_under_a_constraint(way: str, constraint: str) -> None:
  fields = adversarial_config(conditional=way, constraint=constraint, loss='relativistic')
  model = objectives.find_objective(fields, facts(SHAPE, classes=CLASSES))
  assert model.conditional
  params, _ = jax.jit(model.init)(jax.random.key(0))
  given = example(jnp.full(SHAPE, 0.25), 1)
  evaluate = jax.jit(model.evaluate)
  found, other = (
    evaluate(params, one, jax.random.key(1)) for one in (given, example(given.image, 2))
  )
  assert ('class_nats' in found) == (way == 'auxiliary')
  assert ('penalty' in found) == (constraint == 'r1')
  assert (found['real_output'] == other['real_output']) == (way == 'auxiliary')
  assert found['fake_output'] != other['fake_output']


@pytest.mark.parametrize(
  ('way', 'classes', 'message'),
  [
    ('projektion', 3, "objective.conditional='projektion'; choose one of none, concatenation, pro"),
    ('projection', 0, 'these data have none'),
  ],
)
def test_unknown_ways_and_data_without_labels_are_refused(
  way: str, classes: int, message: str
) -> None:
  with pytest.raises(UserError, match=message):
    objectives.find_objective(adversarial_config(conditional=way), facts(SHAPE, classes=classes))


def test_samples_follow_their_label() -> None:
  model = objectives.find_objective(config(), facts(SHAPE, classes=CLASSES))
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
  with pytest.raises(UserError, match=r"'adversarial' cannot be built .* these data have none"):
    objectives.find_objective(config(), facts(SHAPE))


def test_an_example_is_an_image_and_what_is_known_of_it() -> None:
  assert Example._fields == ('image', 'label', 'row')
