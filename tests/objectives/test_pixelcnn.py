"""PixelCNN on images so small that all of them can be counted."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.networks.pixelcnn import PixelCNN
from jaxgen.objectives.autoregressive.pixelcnn import Pixels, pixelcnn
from jaxgen.objectives.base import Objective
from jaxgen.objectives.levels import Levels, find_levels
from tests.examples import example, examples, on_one_device

COUNTS = (30, 10)  # training images of two classes


def model(shape: tuple[int, int, int], levels: Levels, classes: int = 0, **fields: Any) -> Any:
  sizes = {'width': 8, 'depth': 2, 'reach': 2} | fields
  network = PixelCNN(levels.count, classes=classes, **sizes)
  counts = COUNTS if classes else ()
  return pixelcnn(Pixels(network, shape, levels), optax.adam(0.02), counts)


def drawn(objective: Objective, scale: float = 1.0) -> Any:
  """Parameters every number of which is drawn."""
  shapes, _ = jax.eval_shape(objective.init, jax.random.key(0))
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: jnp.float32(scale * rng.normal(size=leaf.shape)), shapes)


def every_image(shape: tuple[int, int, int], levels: Levels) -> np.ndarray:
  every = itertools.product(range(levels.count), repeat=int(np.prod(shape)))
  return np.asarray(levels.grey(np.array(list(every), np.float32))).reshape(-1, *shape)


def nats(objective: Objective, params: Any, images: np.ndarray) -> np.ndarray:
  """log p of each image, from the only number of `evaluate` that is a probability's."""
  found = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, None)))(
    params, examples(images), jax.random.key(0)
  )
  name = next(name for name in found if name.startswith(('log_probability', 'bits')))
  to_nats = -np.log(2) * images[0].size if name.startswith('bits') else 1.0
  return np.asarray(found[name], np.float64) * to_nats


BINARY = Levels(2, 'static')


@pytest.mark.parametrize(
  ('shape', 'levels', 'classes'),
  [((3, 3, 1), BINARY, 0), ((3, 3, 1), BINARY, 2), ((1, 2, 2), Levels(4), 0)],
)
def test_probabilities_of_all_images_sum_to_one(
  shape: tuple[int, int, int], levels: Levels, classes: int
) -> None:
  objective, images = model(shape, levels, classes), every_image(shape, levels)
  mass = np.exp(nats(objective, drawn(objective), images))
  assert mass.sum() == pytest.approx(1.0, abs=1e-5)
  assert mass.max() > 5.0 / len(images)  # which uniform ones would do as well


def sees(network: PixelCNN, height: int, width: int) -> np.ndarray:
  """Which pixels (H, W) a change of which would change what is said of each (H, W)."""
  x = jnp.float32(np.random.default_rng(0).normal(size=(height, width, 1)))
  shapes = jax.eval_shape(network.init, jax.random.key(0), x)
  rng = np.random.default_rng(1)
  params = jax.tree.map(lambda leaf: jnp.float32(0.3 * rng.normal(size=leaf.shape)), shapes)
  gradient = jax.jit(jax.jacrev(lambda x: network.apply(params, x)))(x)
  return np.asarray(gradient)[:, :, 0, :, :, 0] != 0


def test_every_pixel_sees_all_those_before_it_and_no_other() -> None:
  """By gradients; also those up and to the right, which masked kernels alone leave out."""
  found = sees(PixelCNN(1, width=32, depth=4, reach=1), 4, 5)
  np.testing.assert_array_equal(found.reshape(20, 20), np.tri(20, k=-1, dtype=bool))


def test_the_reach_is_that_of_the_layers() -> None:
  """Two pixels by the first layer and one by each of two more, up and to both sides."""
  expected = np.zeros((7, 11), bool)
  expected[1:5, 1:10] = True
  expected[5, 1:5] = True
  found = sees(PixelCNN(1, width=16, depth=3, reach=2), 7, 11)
  np.testing.assert_array_equal(found[5, 5], expected)


@pytest.mark.parametrize(
  ('shape', 'levels', 'classes'), [((2, 2, 1), BINARY, 2), ((2, 1, 2), Levels(3), 0)]
)
def test_samples_are_as_frequent_as_they_are_probable(
  shape: tuple[int, int, int], levels: Levels, classes: int
) -> None:
  """Of each label in turn, too: of a conditional model by the class's share."""
  count, images = 20_000, every_image(shape, levels)
  objective = model(shape, levels, classes)
  params = drawn(objective, 0.7)
  labels = jnp.int32(np.arange(count) * sum(COUNTS) // count >= COUNTS[0])
  keys = jax.random.split(jax.random.key(1), count)
  x = jax.jit(jax.vmap(objective.sample, in_axes=(None, 0, 0)))(params, labels, keys)
  places = levels.count ** np.arange(np.prod(shape))[::-1]
  index = np.asarray(levels.index(x)).reshape(count, -1) @ places
  np.testing.assert_allclose(images[index], x, atol=1e-6)
  p = np.exp(nats(objective, params, images))
  found = np.bincount(index, minlength=len(images)) / count
  assert (np.abs(found - p) < 4.5 * np.sqrt(p * (1 - p) / count) + 1e-6).all()
  assert p.max() > 2 / len(images)


@pytest.mark.slow
def test_it_learns_what_pixels_have_to_do_with_each_other() -> None:
  """Of a chain, in which each pixel repeats the last with probability 0.9, down to its entropy."""
  shape, levels = (2, 3, 1), Levels(2)
  rng = np.random.default_rng(0)
  turns = rng.random((40, 128, 6)) < np.array([0.5, *[0.1] * 5])
  data = np.where(np.cumsum(turns, axis=2) % 2, 1.0, -1.0).reshape(40, 128, *shape)
  objective = model(shape, levels)
  params, memory = jax.jit(objective.init)(jax.random.key(0))
  step, keys = jax.jit(on_one_device(objective)), jax.random.split(jax.random.key(0), 128)
  for batch in np.concatenate([data] * 5):
    params, memory, _ = step(params, memory, batch, keys)
  images = every_image(shape, levels)
  changes = (np.diff(images.reshape(-1, 6), axis=1) != 0).sum(1)
  p = 0.5 * 0.1**changes * 0.9 ** (5 - changes)
  entropy = -np.sum(p * np.log(p))
  apart = 6 * np.log(2)  # of a model that takes pixels for independent
  cross_entropy = -np.sum(p * nats(objective, params, images))
  assert entropy == pytest.approx(np.log(2) - 5 * (0.1 * np.log(0.1) + 0.9 * np.log(0.9)))
  assert 0.0 < cross_entropy - entropy < 0.01 * (apart - entropy)


def test_the_label_says_which_class_an_image_is_of() -> None:
  """log p(x) = log sum_y p(y) p(x | y), and the likelier class is what it is taken for."""
  objective = model((2, 2, 1), BINARY, 2)
  params, images = drawn(objective), every_image((2, 2, 1), BINARY)
  keys, labels = jax.random.split(jax.random.key(0), 1), np.arange(2)
  step = jax.jit(on_one_device(objective))
  memory = jax.jit(objective.init)(jax.random.key(0))[1]
  name = 'given_label_log_probability_static_bernoulli_nats'
  given = np.array(
    [
      [step(params, memory, examples(image[None], [y]), keys)[2][name] for y in labels]
      for image in images
    ],
    np.float64,
  )
  joint = np.exp(given) * np.array(COUNTS) / sum(COUNTS)
  np.testing.assert_allclose(nats(objective, params, images), np.log(joint.sum(1)), rtol=1e-4)
  evaluate = jax.jit(objective.evaluate)
  for image, of_class in zip(images, joint, strict=True):
    right = [evaluate(params, example(image, y), keys[0])['accuracy'] for y in labels]
    assert right == [of_class[0] > of_class[1], of_class[1] > of_class[0]]


def test_completions_keep_the_upper_half() -> None:
  objective = model((4, 2, 1), Levels(5))
  images = every_image((4, 2, 1), Levels(2))[[3, 77]]
  shown = jax.jit(objective.figures['completions'])(
    drawn(objective), examples(images), jax.random.key(0)
  )
  np.testing.assert_array_equal(shown[:, 0], images)
  np.testing.assert_array_equal(shown[:, :, :2], np.tile(images[:, None, :2], (1, 7, 1, 1, 1)))
  assert np.std(shown[:, 1:, 2:], axis=1).max() > 0


def test_numbers_say_what_they_are_of() -> None:
  every = Levels(256), Levels(17), Levels(2, 'dynamic')
  names = [next(iter(levels.held_out(jnp.zeros(()), 4))) for levels in every]
  assert names == [
    'bits_per_dimension',
    'bits_per_dimension_of_17_levels',
    'log_probability_dynamic_bernoulli_nats',
  ]
  assert Levels(256).held_out(jnp.float32(-np.log(2)), 4)['bits_per_dimension'] == 0.25


def test_levels_are_evenly_spaced_and_the_nearest_is_taken() -> None:
  levels = Levels(5)
  np.testing.assert_allclose(levels.grey(np.arange(5)), [-1.0, -0.5, 0.0, 0.5, 1.0])
  np.testing.assert_array_equal(
    levels.index(np.array([-1.0, -0.74, 0.2, 0.3, 1.0])), [0, 1, 2, 3, 4]
  )
  bytes_ = np.arange(256, dtype=np.float32) / 127.5 - 1.0
  np.testing.assert_array_equal(Levels(256).index(bytes_), np.arange(256))


@pytest.mark.parametrize(
  ('count', 'binarize', 'message'),
  [(1, 'none', 'objective.levels=1 must be from 2'), (256, 'static', 'set objective.levels=2')],
)
def test_levels_that_cannot_be_are_refused(count: int, binarize: str, message: str) -> None:
  with pytest.raises(ValueError, match=message):
    find_levels(count, binarize)
