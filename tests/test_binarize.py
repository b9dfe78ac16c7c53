"""Pixels that are black or white: by what probability, when they are drawn, and who sees them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration, datasets, images
from jaxgen.datasets import binary, reading, splits
from jaxgen.devices import parallel
from jaxgen.errors import UserError
from jaxgen.evaluation.held_out import Evaluation
from jaxgen.objectives.base import Example, Metrics, Objective, each
from jaxgen.objectives.variational.likelihoods import find_likelihood
from tests.examples import EXPERIMENTS, dealt

SHAPE = (4, 4, 1)
LEVELS = np.arange(16, dtype=np.uint8).reshape(SHAPE) * 17  # of an image: 0 to 255


def looker() -> Objective:
  """Learns nothing, and tells the pixels that it sees: how many are grey, and which are white."""

  def seen(image: jax.Array) -> Metrics:
    white = (image.ravel() + 1.0) / 2.0
    return {'grey': 1.0 - image.ravel() ** 2, 'white': white, 'code': white @ 0.5 ** jnp.arange(16)}

  def update(params: Any, memory: Any, examples: Example, keys: Any, step: Any) -> Any:
    codes = jax.lax.all_gather(each(seen, examples.image)['code'], 'devices', axis=1)
    return params, codes.reshape(-1), {}

  def evaluate(params: Any, example: Example, key: Any) -> Metrics:
    found = seen(example.image)
    return {'grey': found['grey'].max(), 'code': found['code'], 'white': found['white'].mean()}

  def figure(params: Any, examples: Example, key: Any) -> jax.Array:
    return examples.image[None]

  return Objective(
    lambda key: ({'w': jnp.zeros(())}, jnp.zeros(8)), update, evaluate, lambda *_: jnp.zeros(SHAPE),
    figures={'seen': figure},
  )  # fmt: skip


def test_a_pixel_is_white_with_the_probability_of_its_grey_level() -> None:
  keys = jax.random.split(jax.random.key(0), 20_000)
  drawn = np.asarray(jax.vmap(images.binarized, in_axes=(None, 0))(LEVELS, keys))
  assert set(np.unique(drawn)) == {-1.0, 1.0}
  p = LEVELS / 255
  error = np.sqrt(p * (1 - p) / 20_000)  # none of black and white pixels
  assert (np.abs((drawn == 1).mean(0) - p) <= 4.5 * error).all()
  np.testing.assert_allclose(  # and of others independently
    np.corrcoef(drawn[:, 1, 0, 0], drawn[:, 1, 1, 0]), np.eye(2), atol=0.04
  )


def codes(binarize: str, devices: int, seed: int = 0) -> list[np.ndarray]:
  """What is seen of a batch of eight equal images at each of two updates."""
  step = parallel.train_steps(looker(), seed, 0.9, see=images.reader(binarize))
  state, found = parallel.initial_state(looker(), seed), []
  for _ in range(2):
    state, _ = step(state, dealt(np.broadcast_to(LEVELS, (1, 8, *SHAPE)), devices))
    found.append(np.asarray(state.memory))
  return found


def test_every_look_of_training_is_another_on_any_number_of_devices() -> None:
  one, four, other = codes('dynamic', 1), codes('dynamic', 4), codes('dynamic', 1, seed=1)
  np.testing.assert_array_equal(one, four)
  assert len(np.unique(np.concatenate([*one, *other]))) > 28  # of 32, as some may be alike
  for binarize in ('none', 'static'):  # whose images come as they are to be seen
    expected = LEVELS.ravel() / 255 @ 0.5 ** np.arange(16)
    np.testing.assert_allclose(codes(binarize, 1), expected, rtol=1e-5)


def evaluation(binarize: str, seed: int = 0) -> Evaluation:
  config = configuration.execute(str(EXPERIMENTS[0]))
  config.update({'seed': seed})
  config.data.binarize = binarize
  config.evaluation.batch_size = 3
  return Evaluation(looker(), config, ())


SPLIT = splits.Split(np.broadcast_to(LEVELS, (40, *SHAPE)).copy())


def test_held_out_images_are_seen_the_same_by_every_run() -> None:
  """Image for image, whatever the seed and however many are looked at; in figures too."""
  one, again = (evaluation('dynamic', seed) for seed in (0, 1))
  params = {'w': jnp.zeros(())}
  found = one.measure(params, SPLIT)
  assert found == again.measure(params, SPLIT)
  assert found['grey'] == 0.0
  assert found['white'] == pytest.approx(0.5, abs=4 * 0.4 / np.sqrt(640))
  assert found['code'] != evaluation('none').measure(params, SPLIT)['code']
  pictures = one.figures(params, SPLIT)['seen'][0]
  assert set(np.unique(pictures)) == {0, 255}
  assert len(np.unique(pictures, axis=0)) > 4  # each with a look of its own
  rows = splits.subset(40, 8)
  for picture, row in zip(pictures, rows, strict=True):
    np.testing.assert_array_equal(images.to_uint8(one.see(LEVELS, jnp.int32(row))), picture)


def test_static_images_are_drawn_once_for_all() -> None:
  grey, first, again = (datasets.named('digits', binarize=way) for way in ('none', *['static'] * 2))
  for before, a, b in zip(grey, first, again, strict=True):
    np.testing.assert_array_equal(a.images, b.images)
    assert set(np.unique(a.images)) == {0, 255}
    p = before.images / 255
    assert (a.images[p == 0] == 0).all()
    assert (a.images[p == 1] == 255).all()
    white, error = (a.images / 255 - p).sum(), np.sqrt((p * (1 - p)).sum())
    assert abs(white) < 4 * error
    np.testing.assert_array_equal(a.labels, before.labels)


def test_static_images_are_the_same_in_memory_and_on_demand() -> None:
  kept = splits.Dataset(*[SPLIT] * 3)
  lazy = SPLIT._replace(images=reading.OnDemand(lambda row: SPLIT.images[row], 40))
  here = binary.statically_binarized(kept)
  there = binary.statically_binarized(splits.Dataset(*[lazy] * 3))
  assert isinstance(here.train.images, np.ndarray)
  assert not isinstance(there.train.images, np.ndarray)
  rows = np.array([7, 3, 39])
  for a, b in zip(here, there, strict=True):
    np.testing.assert_array_equal(a.images[rows], b.images[rows])
    assert len(np.unique(a.images, axis=0)) > 30
  assert (here.train.images != here.test.images).any()  # where splits hold the same image


def test_a_bernoulli_of_black_and_white_pixels_is_no_surrogate() -> None:
  """Bounds on the likelihood of other pixels have other names."""
  names = [find_likelihood('bernoulli', way).measure for way in binary.WAYS]
  assert names == ['bernoulli_surrogate', 'static_bernoulli', 'dynamic_bernoulli']
  assert find_likelihood('gaussian', 'static').measure == 'gaussian_density'


def test_another_way_is_refused() -> None:
  with pytest.raises(UserError, match="binarize='threshold'; choose one of none, static, dynamic"):
    datasets.named('digits', binarize='threshold')
