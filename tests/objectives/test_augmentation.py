"""Translations of what a critic sees: their law, and what they do to images and gradients."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.objectives.adversarial import augmentation
from tests.examples import facts, on_one_device

ROOT = Path(__file__).parent.parent.parent
SHAPE = (4, 5, 2)
IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize('shift', [(0, 0), (1, -2), (-3, 4), (2, 0)])
def test_image_moves_by_whole_pixels_and_its_edges_are_repeated(shift: tuple[int, int]) -> None:
  """Bitwise, against numpy's padding."""
  padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)), mode='edge')
  top, left = 4 - shift[0], 4 - shift[1]
  expected = padded[top : top + 4, left : left + 5]
  found = augmentation.translate(jnp.asarray(IMAGE), jnp.array(shift))
  np.testing.assert_array_equal(found, expected)
  assert (shift == (0, 0)) == np.array_equal(expected, IMAGE)


@pytest.mark.parametrize('probability', [1.0, 0.3])
def test_law_of_the_shifts(probability: float) -> None:
  """Uniform on 25 places of a square of side 5, mixed with the place in its middle."""
  keys = jax.random.split(jax.random.key(0), 20_000)
  drawn = jax.vmap(lambda key: augmentation.draw_shift(2, probability, key))(keys)
  places = np.ravel_multi_index(np.asarray(drawn).T + 2, (5, 5))
  expected = np.full(25, probability / 25)
  expected[12] += 1.0 - probability
  found = np.bincount(places, minlength=25)
  assert stats.chisquare(found, expected * len(keys)).pvalue > 0.01


def test_both_images_are_moved_each_by_its_own_draw_before_a_loss() -> None:
  """Of images with one bright pixel, a loss sees where it has gone; its key is its own."""
  image = jnp.zeros((9, 9, 1)).at[4, 4, 0].set(1.0)
  seen = lambda f, real, fake, key: (f(real), {'real': real, 'fake': fake, 'key': key})  # noqa: E731
  loss = augmentation.translated(seen, 3, 1.0)
  keys = jax.random.split(jax.random.key(0), 2000)
  _, found = jax.vmap(lambda key: loss(jnp.sum, image, image, key))(keys)
  places = np.stack([np.argwhere(found[name][..., 0])[:, 1:] for name in ('real', 'fake')], axis=2)
  assert places.shape == (2000, 2, 2)
  assert places.min() == 1
  assert places.max() == 7
  assert np.abs(np.corrcoef(places.reshape(2000, 4).T) - np.eye(4)).max() < 0.1
  assert len(np.unique(jax.random.key_data(found['key']), axis=0)) == 2000


def test_gradient_reaches_the_image_before_it_was_moved() -> None:
  """That of the weight which each pixel has met, doubled at an edge that is repeated."""
  weights = jnp.arange(16.0).reshape(4, 4, 1)
  f = lambda image: jnp.sum(weights * augmentation.translate(image, jnp.array([0, 1])))  # noqa: E731
  found = jax.grad(f)(jnp.zeros((4, 4, 1)))[..., 0]
  moved = np.arange(16.0).reshape(4, 4)
  expected = np.stack([moved[:, 0] + moved[:, 1], moved[:, 2], moved[:, 3], 0 * moved[:, 0]], 1)
  np.testing.assert_allclose(found, expected)


def config(**fields: Any) -> Any:
  found = configuration.execute(str(ROOT / 'experiments' / 'hinge_gan.py'))
  found.objective.update({'latent': 2} | fields)
  found.network.name, found.network.hidden = 'mlp', (8,)
  return found


def test_generator_learns_through_the_translation_and_samples_are_not_moved() -> None:
  plain, moving = (
    objectives.find_objective(config(translation=pixels), facts((8, 8, 1))) for pixels in (0, 3)
  )
  params, memory = jax.jit(plain.init)(jax.random.key(0))
  images, keys = jnp.zeros((4, 8, 8, 1)), jax.random.split(jax.random.key(1), 4)
  found = [jax.jit(on_one_device(m))(params, memory, images, keys) for m in (plain, moving)]
  for after, _, metrics in found:
    assert metrics['generator/gradient_norm'] > 1e-4
    kernels = [tree['generator']['params']['Dense_0']['kernel'] for tree in (params, after)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.0
  assert found[0][2]['generator/loss'] != found[1][2]['generator/loss']
  draws = [jax.jit(m.sample)(params, jnp.int32(-1), jax.random.key(2)) for m in (plain, moving)]
  np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize(
  ('before', 'sign', 'after'),
  [
    (0.1, 0.61, 0.1 + 0.0005),
    (0.1, 0.59, 0.1 - 0.0005),
    (0.1, -1.0, 0.1 - 0.0005),
    (0.0, 0.0, 0.0),
    (0.4999, 1.0, 0.5),
  ],
)
def test_probability_follows_how_sure_the_critic_is(
  before: float, sign: float, after: float
) -> None:
  """By 250 images of 500,000, and 0.6 as the target, within [0, 1/2]."""
  known = {'critic/real_sign': jnp.float32(sign)}
  found, metrics = augmentation.adapt(jnp.float32(before), known, images=250, most=0.5)
  assert found == metrics['augmentation'] == pytest.approx(after, abs=1e-7)


def test_probability_is_remembered_and_is_that_of_the_next_update() -> None:
  """It rises as the critic learns two kinds of images apart that hardly overlap."""
  fields = config(translation=3, adaptive=True, loss='non_saturating', constraint='none')
  fields.critic_optimizer.learning_rate, fields.optimizer.learning_rate = 0.02, 0.0
  fields.batch_size = 5000
  model = objectives.find_objective(fields, facts((8, 8, 1)))
  params, memory = jax.jit(model.init)(jax.random.key(0))
  step, images, expected = jax.jit(on_one_device(model)), jnp.full((4, 8, 8, 1), 0.9), 0.0
  signs = []
  for number in range(30):
    keys = jax.random.split(jax.random.key(number), 4)
    params, memory, metrics = step(params, memory, images, keys)
    signs.append(float(metrics['critic/real_sign']))
    expected = np.clip(expected + 0.01 * np.sign(signs[-1] - 0.6), 0.0, 1.0)
    assert memory['state'] == metrics['augmentation'] == pytest.approx(expected, abs=1e-6)
  assert signs[-1] == 1.0
  assert expected > 0.05


def test_a_remembered_probability_is_the_one_that_counts() -> None:
  image = jnp.zeros((9, 9, 1)).at[4, 4, 0].set(1.0)
  moves = lambda f, real, fake, key: (real[4, 4, 0], {})  # noqa: E731
  loss = augmentation.translated(moves, 3, 1.0)
  keys = jax.random.split(jax.random.key(0), 5000)
  for p in (0.0, 0.4):
    stays, _ = jax.vmap(lambda key: loss(jnp.sum, image, image, key, state=jnp.float32(p)))(keys)  # noqa: B023
    assert stays.mean() == pytest.approx(1 - p * 48 / 49, abs=0.03)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'adaptive': True}, 'objective.adaptive=True has no effect with objective.translation=0'),
    (
      {'adaptive': True, 'translation': 1, 'loss': 'relativistic'},
      r'looks at the sign of f\(x\), which says nothing with loss=.relativistic.',
    ),
    ({'translation': 8}, r'objective.translation=8 must lie in 0 ... 7 pixels'),
    ({'translation': 1, 'augmentation': 0.0}, r'objective.augmentation=0.0 must lie in \(0, 1\]'),
    (
      {'augmentation': 0.5},
      'objective.augmentation=0.5 has no effect with objective.translation=0',
    ),
  ],
)
def test_what_cannot_be_or_has_no_effect_is_refused(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(UserError, match=message):
    objectives.find_objective(config(**fields), facts((8, 8, 1)))
