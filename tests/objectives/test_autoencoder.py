"""Linear autoencoders against eigenvalues and Tweedie's formula, and the law of their codes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.networks import mlp
from jaxgen.objectives.base import Objective
from jaxgen.objectives.variational.autoencoder import RATE, autoencoder, coloured, corrupt
from tests.examples import draw, example, examples, on_one_device

SHAPE, D, Q, COUNT, STEPS = (5, 1, 1), 5, 2, 500, 1500
RNG = np.random.default_rng(0)
TURN, _ = np.linalg.qr(RNG.normal(size=(D, D)))
MEAN = np.array([0.3, -0.2, 0.0, 0.1, -0.4])
DATA = MEAN + RNG.normal(size=(COUNT, D)) * [1.0, 0.7, 0.3, 0.2, 0.1] @ TURN.T
S = np.cov(DATA.T, bias=True)
SPECTRUM, AXES = np.linalg.eigh(S)
PCA = AXES[:, -Q:] @ AXES[:, -Q:].T  # the projector on the leading axes


def linear(latent: int = Q, rate: float = 0.02, steps: int = STEPS, **fields: float) -> Objective:
  optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))
  return autoencoder(
    mlp.Encoder(latent, ()), mlp.Decoder(SHAPE, ()), optimizer, SHAPE, latent, **fields
  )


def trained(model: Objective, steps: int = STEPS) -> tuple[Any, np.ndarray]:
  """Parameters after updates on all data at once, and the loss of each."""
  batch, step = examples(DATA.reshape(-1, *SHAPE)), on_one_device(model)

  def update(state: Any, i: jax.Array) -> Any:
    keys = jax.random.split(jax.random.fold_in(jax.random.key(1), i), COUNT)
    params, memory, metrics = step(*state, batch, keys, i)
    return (params, memory), metrics['loss']

  run = jax.jit(lambda state: jax.lax.scan(update, state, jnp.arange(steps)))
  (params, _), losses = run(model.init(jax.random.key(0)))
  return params, np.asarray(losses)


def restored(model: Objective, params: Any, x: np.ndarray) -> np.ndarray:
  """d(e(x)) of vectors (N, D)."""
  key = jax.random.key(0)
  there_and_back = jax.vmap(lambda x: model.decode(params, model.encode(params, x, key), key))
  return np.asarray(there_and_back(jnp.float32(x).reshape(-1, *SHAPE))).reshape(-1, D)


@pytest.fixture(scope='module')
def plain() -> tuple[Any, np.ndarray]:
  return trained(linear())


def test_linear_autoencoder_projects_on_the_leading_axes(plain: tuple[Any, np.ndarray]) -> None:
  """Baldi & Hornik 1989: it is PCA, and its error the sum of the eigenvalues left out."""
  params, losses = plain
  x = RNG.normal(size=(20, D))
  mean = DATA.mean(0)
  np.testing.assert_allclose(restored(linear(), params, x), mean + (x - mean) @ PCA, atol=2e-3)
  span, _ = np.linalg.qr(np.asarray(params['networks']['decoder']['params']['Dense_0']['kernel']).T)
  np.testing.assert_allclose(span @ span.T, PCA, atol=2e-3)
  assert losses[-1] == pytest.approx(SPECTRUM[:-Q].sum(), rel=1e-3)
  assert losses.min() > SPECTRUM[:-Q].sum() * (1 - 1e-5)  # below which no linear one comes
  found = jax.vmap(partial(linear().evaluate, params, key=jax.random.key(0)))(
    examples(DATA.reshape(-1, *SHAPE))
  )
  assert found.keys() == {'squared_error'}
  assert found['squared_error'].mean() == pytest.approx(SPECTRUM[:-Q].sum(), rel=1e-3)


def test_samples_have_the_law_of_the_reconstructions(plain: tuple[Any, np.ndarray]) -> None:
  """Of Gaussian data by PCA: the data's mean, and their covariance on the leading axes."""
  x = draw(linear(), plain[0], jax.random.split(jax.random.key(2), 20_000)).reshape(-1, D)
  np.testing.assert_allclose(x.mean(0), DATA.mean(0), atol=0.03)
  np.testing.assert_allclose(np.cov(x.T), PCA @ S @ PCA, atol=0.03)


@pytest.mark.slow
def test_denoising_is_tweedies_formula() -> None:
  """E[x | y] = y + noise^2 grad log p(y), and its error tr(S - S (S + noise^2 I)^-1 S)."""
  noise, mean = 0.6, DATA.mean(0)
  model = linear(D, noise=noise)
  params, losses = trained(model)
  noisy = S + noise**2 * np.eye(D)
  log_p = partial(
    jax.scipy.stats.multivariate_normal.logpdf, mean=jnp.float32(mean), cov=jnp.float32(noisy)
  )
  y = DATA[:20] + noise * RNG.normal(size=(20, D))
  tweedie = y + noise**2 * np.asarray(jax.vmap(jax.grad(log_p))(jnp.float32(y)))
  np.testing.assert_allclose(restored(model, params, y), tweedie, atol=0.03)
  expected = np.trace(S - S @ np.linalg.solve(noisy, S))
  assert losses[-300:].mean() == pytest.approx(expected, rel=0.01)
  keys = jax.random.split(jax.random.key(3), 20 * COUNT)
  data = examples(np.tile(DATA, (20, 1)).reshape(-1, *SHAPE))
  found = jax.vmap(model.evaluate, in_axes=(None, 0, 0))(params, data, keys)
  assert found['denoised_squared_error'].mean() == pytest.approx(expected, rel=0.02)
  clean = ((restored(model, params, DATA) - DATA) ** 2).sum(1)
  np.testing.assert_allclose(found['squared_error'][:COUNT], clean, rtol=1e-3, atol=1e-5)


def test_codes_moments_are_of_clean_images_and_forget_at_their_rate() -> None:
  """By hand over two batches, of an encoder that stays as it is."""
  model = linear(rate=0.0, noise=5.0)
  params, memory = model.init(jax.random.key(0))
  dense = jax.tree.map(np.asarray, params['networks']['encoder']['params']['Dense_0'])
  first, second = np.zeros(Q), np.eye(Q)
  step = jax.jit(on_one_device(model))
  for i in range(2):
    batch = DATA[i * 50 : i * 50 + 50]
    keys = jax.random.split(jax.random.key(i), 50)
    params, memory, _ = step(params, memory, examples(batch.reshape(-1, *SHAPE)), keys)
    z = batch @ dense['kernel'] + dense['bias']
    first += RATE * (z.mean(0) - first)
    second += RATE * (z.T @ z / 50 - second)
  np.testing.assert_allclose(params['codes']['first'], first, rtol=1e-4)
  np.testing.assert_allclose(params['codes']['second'], second, rtol=1e-4, atol=1e-6)


def test_codes_that_fill_a_line_are_drawn_on_it() -> None:
  mean, along = np.array([0.5, -1.0, 2.0]), np.array([0.6, 0.0, -0.8])
  moments = {'first': mean, 'second': np.outer(mean, mean) + 9.0 * np.outer(along, along)}
  moments = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), moments)
  white = jax.random.normal(jax.random.key(0), (10_000, 3))
  z = np.asarray(jax.vmap(partial(coloured, moments))(white), np.float64) - mean
  np.testing.assert_allclose(z, (z @ along)[:, None] * along, atol=5e-3)
  assert (z @ along).mean() == pytest.approx(0.0, abs=0.1)
  assert (z @ along).std() == pytest.approx(3.0, rel=0.02)


def test_noise_and_mask_corrupt_as_they_say() -> None:
  image = jnp.full((100, 100, 1), 0.3)
  noisy = np.asarray(corrupt(image, jax.random.key(0), 0.5, 0.25), np.float64)
  black = noisy == -1.0
  assert black.mean() == pytest.approx(0.25, abs=0.02)
  assert noisy[~black].mean() == pytest.approx(0.3, abs=0.03)
  assert noisy[~black].std() == pytest.approx(0.5, rel=0.03)
  np.testing.assert_array_equal(corrupt(image, jax.random.key(1), 0.0, 0.0), image)


def test_denoising_is_shown_where_there_is_any(plain: tuple[Any, np.ndarray]) -> None:
  """An image, the same with some of its numbers black, and what that is restored to."""
  assert set(linear().figures) == {'reconstructions', 'manifold'}
  few = examples(DATA[:4].reshape(-1, *SHAPE))
  model = linear(mask=0.5)
  found = np.asarray(model.figures['denoised'](plain[0], few, jax.random.key(0)))
  clean, noisy, back = found.reshape(4, 3, D).swapaxes(0, 1)
  np.testing.assert_array_equal(clean, np.float32(DATA[:4]))
  assert 0.1 < (noisy == -1.0).mean() < 0.9
  np.testing.assert_array_equal(noisy[noisy != -1.0], clean[noisy != -1.0])
  np.testing.assert_allclose(back, restored(model, plain[0], noisy), atol=1e-5)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'noise': -0.1}, 'objective.noise=-0.1 must be at least 0'),
    ({'mask': 1.0}, r'objective.mask=1.0 in \[0, 1\)'),
  ],
)
def test_hyperparameters_that_cannot_be(fields: dict[str, float], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    linear(**fields)


def test_an_image_alone_is_measured() -> None:
  """With a decoder of zeros the error is the image's own square."""
  model = linear()
  params, _ = model.init(jax.random.key(0))
  params['networks']['decoder'] = jax.tree.map(jnp.zeros_like, params['networks']['decoder'])
  found = model.evaluate(params, example(DATA[0].reshape(SHAPE)), jax.random.key(0))
  assert found['squared_error'] == pytest.approx((DATA[0] ** 2).sum(), rel=1e-5)
