"""The codebook against k-means, and grids of codes whose probabilities are known."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from jaxgen.networks import convolutional, pixelcnn
from jaxgen.objectives.base import Objective
from jaxgen.objectives.variational import codebook
from jaxgen.objectives.variational.likelihoods import (
  ObservationModel,
  find_likelihood,
  observation_model,
)
from jaxgen.objectives.variational.vq_vae import vq_vae
from tests.examples import draw, example, examples, on_one_device

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
SHAPE, SMALL, CODES = (8, 8, 1), (2, 2, 1), 6


class Same(nn.Module):
  """x -> x."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return x


class Successor(nn.Module):
  """Logits of codes 0, 1, ... of which each is one more than the last, and the first is any."""

  codes: int

  @nn.compact
  def __call__(self, seen: jax.Array) -> jax.Array:
    """(h, w, 2) -> (h, w, codes)."""
    after = jnp.roll(seen[..., 0].ravel(), 1).astype(jnp.int32) + 1
    logits = 100.0 * jax.nn.one_hot(after % self.codes, self.codes)
    return logits.at[0].set(0.0).reshape(*seen.shape[:2], self.codes)


def gaussian(log_variance: float) -> ObservationModel:
  """Whose mean is the code."""
  return observation_model(Same(), find_likelihood('gaussian'), log_variance)


def counting() -> tuple[Objective, dict[str, Any]]:
  """Whose images (2, 3, 1) are their own codes, the numbers 0 ... 4, in a known order."""
  model = vq_vae(*(Same(), gaussian(-9.0), Successor(5)), optax.sgd(0.0), (2, 3, 1), 5)
  params = model.init(KEY)[0] | {'codebook': jnp.arange(5.0)[:, None]}
  return model, params


def small() -> Objective:
  """Of networks that see each pixel of 2x2 alone, but for the prior."""
  return vq_vae(
    nn.Dense(3),
    observation_model(nn.Dense(1), find_likelihood('bernoulli')),
    pixelcnn.PixelCNN(CODES, 4, 1, 1),
    optax.sgd(0.1),
    SMALL,
    CODES,
  )


def test_the_nearest_code_is_the_nearest() -> None:
  codes, z = RNG.normal(size=(7, 3)), RNG.normal(size=(4, 5, 3))
  expected = cdist(z.reshape(-1, 3), codes).argmin(axis=1).reshape(4, 5)
  np.testing.assert_array_equal(codebook.nearest(jnp.float32(codes), jnp.float32(z)), expected)


def test_gradients_go_straight_through() -> None:
  """The value is the code's, and the derivative the identity's in z and none in the code."""
  z, e = jnp.float32(RNG.normal(size=(2, 3)))
  np.testing.assert_allclose(codebook.straight_through(z, e), e, rtol=1e-6)
  of_z, of_e = jax.jacobian(codebook.straight_through, (0, 1))(z, e)
  np.testing.assert_array_equal(of_z, np.eye(3))
  np.testing.assert_array_equal(of_e, np.zeros((3, 3)))


def test_commitment_pulls_encodings_alone() -> None:
  z, e = jnp.float32(RNG.normal(size=(2, 4, 3)))
  assert codebook.commitment(z, e) == pytest.approx(float(np.sum((z - e) ** 2)), rel=1e-6)
  of_z, of_e = jax.grad(codebook.commitment, (0, 1))(z, e)
  np.testing.assert_allclose(of_z, 2.0 * (z - e), rtol=1e-6)
  np.testing.assert_array_equal(of_e, np.zeros((4, 3)))


def test_perplexity_counts_codes_that_are_used_alike() -> None:
  for used in (1, 2, 5, 8):
    use = jnp.where(jnp.arange(8) < used, 1.0 / used, 0.0)
    assert codebook.perplexity(use) == pytest.approx(used, rel=1e-6)
  assert codebook.perplexity(jnp.array([0.5, 0.25, 0.25])) == pytest.approx(2**1.5, rel=1e-6)


def followed(z: np.ndarray, codes: np.ndarray, decay: float, steps: int) -> np.ndarray:
  """The codebook after so many updates on the same encodings."""
  start = jnp.float32(codes), codebook.Averages(jnp.ones(len(codes)), jnp.float32(codes))

  def step(_: int, state: Any) -> Any:
    vectors, old = state
    new = codebook.averages(codebook.nearest(vectors, jnp.float32(z)), jnp.float32(z), len(codes))
    averages, _ = codebook.split(codebook.follow(old, new, decay))
    return codebook.centroids(averages, vectors), averages

  return np.asarray(jax.lax.fori_loop(0, steps, step, start)[0])


def test_codes_become_the_centroids_of_k_means() -> None:
  """One update without a memory is Lloyd's; many, with a memory or without, end where his do."""
  centres = np.array([[0.0, 0.0], [4.0, 1.0], [-3.0, 3.0], [1.0, -5.0]])
  z = (centres[:, None] + RNG.normal(size=(4, 50, 2))).reshape(-1, 2)
  start = centres + RNG.normal(size=(4, 2))
  nearest = cdist(z, start).argmin(axis=1)
  lloyd = [z[nearest == code].mean(axis=0) for code in range(4)]
  np.testing.assert_allclose(followed(z, start, 0.0, 1), lloyd, rtol=1e-4, atol=1e-5)
  expected = KMeans(4, init=start, n_init=1, tol=0.0).fit(z).cluster_centers_
  np.testing.assert_allclose(followed(z, start, 0.0, 50), expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(followed(z, start, 0.9, 400), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('decay', [0.0, 0.9])
def test_a_dead_code_takes_one_half_of_a_busy_one(decay: float) -> None:
  """Two groups of encodings end with a code each, though both begin next to the same one."""
  z = np.concatenate([RNG.normal(m, 0.1, (30, 2)) for m in ((1.0, 0.5), (3.0, 1.5))])
  found = followed(z, np.array([[2.0, 1.0], [50.0, 50.0]]), decay, 300)
  means = np.sort(z.reshape(2, 30, 2).mean(axis=1), axis=0)
  np.testing.assert_allclose(np.sort(found, axis=0), means, rtol=1e-4)


def test_splitting_keeps_what_there_is() -> None:
  """The dead code and the busiest share its use and, nearly, its sum; others stay as they are."""
  use = jnp.array([0.3, 0.001, 0.5, 0.199])
  sums = jnp.float32(RNG.normal(size=(4, 2)))
  (shared, parts), dead = codebook.split(codebook.Averages(use, sums))
  assert dead == 1
  np.testing.assert_allclose(shared, [0.3, 0.25, 0.25, 0.199], rtol=1e-6)
  halves = np.stack([sums[0], 1.01 * sums[2] / 2, sums[2] / 2, sums[3]])
  np.testing.assert_allclose(parts, halves, rtol=1e-6)


def test_codes_used_alike_cost_log_k_a_place() -> None:
  """A prior that has learned nothing yet says so: 2x2 places, in training and held out."""
  model = small()
  params, memory = jax.jit(model.init)(KEY)
  images = RNG.uniform(-1.0, 1.0, (3, *SMALL))
  for metrics in (
    jax.jit(on_one_device(model))(params, memory, images, jax.random.split(KEY, 3))[2],
    jax.jit(model.evaluate)(params, example(images[0]), KEY),
  ):
    assert metrics['kl_nats'] == pytest.approx(4 * np.log(CODES), rel=1e-6)


def test_the_parts_of_the_loss_do_not_touch() -> None:
  """Another prior leaves the other networks' step as it is, and another decoder the prior's."""
  model = small()
  params, memory = jax.jit(model.init)(KEY)
  update = jax.jit(on_one_device(model))
  images, keys = RNG.uniform(-1.0, 1.0, (5, *SMALL)), jax.random.split(KEY, 5)

  def step(changed: str) -> dict[str, Any]:
    """How far each network goes, where this one is another."""
    networks = params['networks']
    if changed in networks:
      networks = networks | {changed: jax.tree.map(lambda leaf: leaf + 0.3, networks[changed])}
    moved = update(params | {'networks': networks}, memory, images, keys)[0]
    return jax.tree.map(lambda a, b: np.asarray(a - b), moved['networks'], networks)

  def apart(a: Any, b: Any) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), a, b)))

  usual, other_prior, other_decoder = (step(name) for name in ('none', 'prior', 'decoder'))
  for name in ('encoder', 'decoder', 'prior'):
    assert (apart(usual[name], other_prior[name]) < 1e-6) == (name != 'prior')
    assert (apart(usual[name], other_decoder[name]) < 1e-6) == (name == 'prior')


def test_the_first_update_follows_the_codebook_that_it_is_given() -> None:
  """As of another run (`--init_from`), in place of the one that the memory began with."""
  model = small()
  params, memory = jax.jit(model.init)(KEY)
  given = params | {'codebook': 5.0 - params['codebook']}
  images, keys = RNG.uniform(-1.0, 1.0, (3, *SMALL)), jax.random.split(KEY, 3)
  update = jax.jit(on_one_device(model))
  (first, kept, _), (later, _, _) = (update(given, memory, images, keys, step) for step in (0, 1))
  assert np.abs(first['codebook'] - given['codebook']).max() < 0.5  # a hundredth of a batch
  assert np.abs(later['codebook'] - params['codebook']).max() < 0.5  # of the memory
  again = update(first, kept, images, keys, 1)[0]
  assert np.abs(again['codebook'] - given['codebook']).max() < 1.0


def test_samples_are_drawn_code_after_code() -> None:
  """Each number is one more than the last, and each is the first as often as the others."""
  model, params = counting()
  numbers = np.asarray(draw(model, params, jax.random.split(KEY, 500))).reshape(500, 6)
  np.testing.assert_array_equal(numbers, (numbers[:, :1] + np.arange(6)) % 5)
  assert np.bincount(numbers[:, 0].astype(int), minlength=5).min() > 70


def test_bound_of_a_grid_whose_probability_is_known() -> None:
  """log p(k) = -log 5 of numbers in their order, plus the decoder's at its own code."""
  model, params = counting()
  offset = 0.01
  image = ((2.0 + np.arange(6)) % 5 + offset).reshape(2, 3, 1)
  found = model.evaluate(params, example(image), KEY)
  log_likelihood = -3.0 * (np.log(2.0 * np.pi) - 9.0 + offset**2 * np.exp(9.0))
  assert found['kl_nats'] == pytest.approx(np.log(5.0), rel=1e-5)
  expected = log_likelihood - np.log(5.0)
  assert found['elbo_gaussian_density_nats'] == pytest.approx(expected, rel=1e-3)
  assert not any('importance' in name for name in found)  # one code has all the weight
  code = model.encode(params, jnp.float32(image), KEY)
  np.testing.assert_array_equal(code, np.float32(image - offset).round())
  np.testing.assert_array_equal(model.decode(params, code, KEY), code)


def test_few_codes_in_use_are_said_in_words() -> None:
  model, params = counting()
  for numbers, used in (([0.0, 1.0, 2.0, 3.0, 4.0, 4.0], 5), ([2.0] * 6, 1)):
    found = model.diagnose(params, examples(np.reshape(numbers, (1, 2, 3, 1))), KEY)
    assert found['used_codes'] == used
    assert model.warn(1000, found) == []  # a fifth of them
  (sentence,) = model.warn(1000, {'used_codes': 0.0})
  assert sentence.startswith('the codebook has collapsed: held-out images use 0 of its 5 codes')
  assert model.warn(999, {'used_codes': 0.0}) == model.warn(1000, {'loss': 1.0}) == []


@pytest.mark.slow
def test_a_vector_of_the_grid_is_of_its_own_part_of_the_image() -> None:
  """With no residual blocks, of the 4x4 pixels that its window covers; and back likewise."""
  encoder = convolutional.GridEncoder(3, (4,), activation=lambda x: x, blocks=0)
  decoder = convolutional.GridDecoder(SHAPE, (4,), activation=lambda x: x, blocks=0)
  image, grid = jnp.zeros(SHAPE), jnp.zeros((4, 4, 3))
  there, back = jax.jit(encoder.init)(KEY, image), jax.jit(decoder.init)(KEY, grid)
  seen = encoder.apply(there, image.at[4, 5, 0].set(1.0)) - encoder.apply(there, image)
  expected = np.zeros((4, 4), bool)
  expected[1:3, 2:4] = True
  np.testing.assert_array_equal(np.abs(seen).max(axis=-1) > 0, expected)
  made = decoder.apply(back, grid.at[0, 0].set(1.0)) - decoder.apply(back, grid)
  # Two vectors each way by the first convolution, whose last pixel is 2 x 1 + 2.
  expected = np.zeros((8, 8), bool)
  expected[:5, :5] = True
  np.testing.assert_array_equal(np.abs(made[..., 0]) > 0, expected)


@pytest.mark.parametrize('fields', [{'codes': 1}, {'commitment': 0.0}, {'decay': 1.0}])
def test_hyperparameters_out_of_range(fields: dict[str, Any]) -> None:
  fields = {'codes': 4} | fields
  with pytest.raises(ValueError, match=rf'objective\.{next(reversed(fields))}='):
    vq_vae(Same(), gaussian(0.0), Successor(4), optax.sgd(0.0), (2, 2, 1), **fields)
