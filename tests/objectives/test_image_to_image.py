"""From picture to picture: what a critic of patches sees, and what samples are translations of."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.datasets.pairs import negative
from jaxgen.objectives.adversarial.image_to_image import (
  KEPT,
  PatchCritic,
  image_to_image,
)
from jaxgen.objectives.base import Image, Key, Metrics, Objective
from tests.examples import example, examples, on_one_device

SHAPE = (2, 2, 1)


@pytest.mark.parametrize(('layers', 'side'), [(1, 8), (2, 18)])
def test_outputs_of_the_critic_see_patches(layers: int, side: int) -> None:
  """Each 5 2^n - 2 pixels each way, by its gradient, and its neighbour those 2^n further."""
  critic, image = PatchCritic((3,) * layers), jnp.zeros((40, 40, 2))
  variables = critic.init(jax.random.key(0), image)
  outputs, pull = jax.vjp(lambda image: critic.apply(variables, image), image)
  assert outputs.shape == (40 >> layers,) * 2
  middle, seen = 20 >> layers, []
  for row in (middle, middle + 1):
    (gradient,) = pull(jnp.zeros_like(outputs).at[row, middle].set(1.0))
    rows, columns, _ = np.nonzero(gradient)
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == side
    seen.append(rows.min())
  assert seen[1] - seen[0] == 2**layers


def shifting(rate: float = 0.0) -> Objective:
  """G(x) = x + shift, and a critic of one number, which both descend with the same rate."""

  def loss(player: str) -> Any:
    def of_one(params: Any, x: Image, y: Image, key: Key) -> tuple[jax.Array, Metrics]:
      del key
      error = x.mean() + params['generator'] - y.mean() - params['critic']
      return 0.5 * error**2, {'sum': params['generator'] + params['critic']}

    return of_one

  return image_to_image(
    lambda key: {'critic': jnp.float32(0.0), 'generator': jnp.float32(0.0)},
    {player: loss(player) for player in ('critic', 'generator')},
    lambda params, x, key: x + params['generator'],
    negative,
    SHAPE,
    {player: optax.sgd(rate) for player in ('critic', 'generator')},
  )


def test_the_generator_answers_the_critic_that_has_just_moved() -> None:
  """By hand: the error is -2 m at first, for images of mean m."""
  model, m = shifting(0.5), 0.25
  params, memory = model.init(jax.random.key(0))
  images, keys = jnp.full((4, *SHAPE), m), jax.random.split(jax.random.key(1), 4)
  params, _, metrics = on_one_device(model)(params, memory, images, keys)
  critic = 0.5 * -2 * m  # d/d critic of error^2 / 2 is -error
  assert params['critic'] == pytest.approx(critic)
  assert params['generator'] == pytest.approx(-0.5 * (-2 * m - critic))
  assert metrics['critic/sum'] == 0.0
  assert metrics['generator/sum'] == pytest.approx(critic)


def test_the_last_conditions_of_training_are_kept_and_translated() -> None:
  model = shifting()
  params, memory = model.init(jax.random.key(0))
  batches = np.random.default_rng(0).uniform(-1, 1, (3, 400, *SHAPE)).astype(np.float32)
  update = jax.jit(on_one_device(model))
  for images in batches:
    params, memory, _ = update(params, memory, images, jax.random.split(jax.random.key(1), 400))
  newest = np.concatenate([-batches[2], -batches[1], -batches[0]])[:KEPT]
  np.testing.assert_array_equal(params['conditions'], newest)

  params['generator'] = jnp.float32(0.5)
  keys = jax.random.split(jax.random.key(2), 300)
  drawn = jax.vmap(model.sample, in_axes=(None, None, 0))(params, jnp.int32(-1), keys)
  distances = np.abs(np.asarray(drawn)[:, None] - 0.5 - newest).max(axis=(2, 3, 4))
  assert distances.min(axis=1).max() < 1e-6
  rows = distances.argmin(axis=1)
  assert len(np.unique(rows)) > 200  # of the 261 that are expected of 300 draws from 1,024
  assert np.bincount(rows // (KEPT // 4), minlength=4).min() > 50


def test_held_out_images_are_translated_and_compared_with_the_truth() -> None:
  """Of grey images y, whose x is -y."""
  params = {'generator': jnp.float32(0.5)}
  found = shifting().evaluate(params, example(jnp.full(SHAPE, 0.75)), jax.random.key(0))
  assert found == {'l1': pytest.approx(1.0), 'l1_untranslated': pytest.approx(1.5)}


def test_the_figure_shows_condition_translation_and_truth() -> None:
  images = jax.random.uniform(jax.random.key(0), (3, *SHAPE))
  model, params = shifting(), {'generator': jnp.float32(0.5)}
  shown = model.figures['translations'](params, examples(images), jax.random.key(0))
  np.testing.assert_allclose(shown, np.stack([-images, 0.5 - images, images], axis=1))
  code = model.encode(params, images[0], jax.random.key(0))
  np.testing.assert_array_equal(model.decode(params, code, jax.random.key(0)), shown[0, 1])
