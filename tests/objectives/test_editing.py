"""Filling in, redrawing and interpolating with denoisers whose conditional laws are known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments import edm
from jaxgen.datasets.splits import Facts
from jaxgen.devices.parallel import initial_state
from jaxgen.errors import UserError
from jaxgen.model import Model
from jaxgen.objectives.diffusion import editing, samplers
from jaxgen.objectives.diffusion.path import find_path
from jaxgen.objectives.diffusion.samplers import Descent, ancestral
from jaxgen.objectives.distributions import between
from tests.draws import check_keys
from tests.objectives import denoisers
from tests.objectives.gaussian import DEVIATION, MEAN, SHAPE, Exact, model

PATH = find_path('edm')
COVARIANCE = np.array([[1.0, 0.9], [0.9, 1.0]])  # of two pixels
KNOWN = 1.5  # the first of them


def descent(name: str, steps: int, sigma_min: float = 0.01) -> Descent:
  return samplers.find(PATH, name, steps, 'log_snr', sigma_min=sigma_min, sigma_max=80.0)


def gains(sigma: Any, numbers: Any = np) -> Any:
  """E[y | x] = G x of two correlated pixels."""
  covariance = numbers.asarray(COVARIANCE)
  return covariance @ numbers.linalg.inv(covariance + sigma**2 * numbers.eye(2))


def correlated(x: jax.Array, t: jax.Array) -> jax.Array:
  """Their denoiser, of images (1, 2, 1)."""
  variances, axes = np.linalg.eigh(COVARIANCE)
  shrunk = (jnp.asarray(axes.T, jnp.float32) @ x.ravel()) * (variances / (variances + t**2))
  return (jnp.asarray(axes, jnp.float32) @ shrunk).reshape(x.shape)


def moments(times: np.ndarray, repeats: int, jump: int) -> tuple[float, float]:
  """Mean and variance of the second pixel after all steps, which are linear, in float64."""
  mean, variance, here = 0.0, times[0] ** 2, 0
  rows = ancestral.sampler().rows(PATH, times)
  for first in range(0, len(times) - 1, jump):
    for _ in range(repeats):
      for i in range(first, min(first + jump, len(times) - 1)):
        variance += times[i] ** 2 - times[here] ** 2
        seen, own = rows.from_x_0[i] * gains(times[i])[1] + [0.0, rows.from_x_t[i]]
        mean = seen * KNOWN + own * mean
        variance = seen**2 * times[i] ** 2 + own**2 * variance + rows.deviation[i] ** 2
        here = i + 1
  seen, own = gains(times[-1])[1]
  return seen * KNOWN + own * mean, (seen * times[-1]) ** 2 + own**2 * variance


def filled(down: Descent, repeats: int, jump: int, count: int) -> np.ndarray:
  """Images (count, 1, 2, 1), of which the first pixel is known."""
  known = jnp.array([True, False]).reshape(1, 2, 1)
  y = jnp.array([KNOWN, 99.0]).reshape(1, 2, 1)
  one = lambda key: editing.inpaint(correlated, down, y, known, repeats, jump, key)  # noqa: E731
  return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count)))


@pytest.mark.parametrize(('repeats', 'jump'), [(1, 1), (5, 1), (3, 4)])
def test_what_is_filled_in_has_the_moments_of_its_steps(repeats: int, jump: int) -> None:
  down = descent('ddim', 40)
  x = filled(down, repeats, jump, 3000)
  np.testing.assert_array_equal(x[:, 0, 0], KNOWN)
  mean, variance = moments(down.times, repeats, jump)
  assert x[:, 0, 1].mean() == pytest.approx(mean, abs=0.03)
  assert x[:, 0, 1].var() == pytest.approx(variance, rel=0.1)


def test_replacement_is_biased_and_repeats_mend_it() -> None:
  """Given 1.5, the truth is N(0.9 * 1.5, 1 - 0.9^2)."""
  times = descent('ddim', 400).times
  found = {repeats: moments(times, repeats, 1) for repeats in (1, 2, 5, 10, 30)}
  for repeats, expected in {1: 0.94, 2: 1.14, 5: 1.28, 10: 1.315, 30: 1.335}.items():
    assert found[repeats][0] == pytest.approx(expected, abs=0.02)
  assert found[1][1] > 1.5 * 0.19
  np.testing.assert_allclose(found[30], [1.35, 0.19], rtol=0.02)


def test_order_of_steps() -> None:
  assert editing.order(5, 2, 2).tolist() == [0, 1, 0, 1, 2, 3, 2, 3, 4, 4]
  assert editing.order(3, 10, 1).tolist() == [0, 1, 2]


@pytest.mark.parametrize('strength', [0.5, 0.65, 1.0])
@pytest.mark.parametrize('name', ['heun', 'ancestral'])
def test_a_redrawn_image_has_its_law(name: str, strength: float) -> None:
  """Of data N(0, c^2), from x_t = y + s eps: c x_t / k by the flow, else y anew, given x_t."""
  down, c, y = descent(name, 200, sigma_min=1e-4), 0.6, 1.3
  s = down.times[-round(200 * strength)]
  share = c**2 / (c**2 + s**2)  # of x_t in E[y | x_t]
  mean, variance = {
    'heun': (np.sqrt(share) * y, share * s**2),
    'ancestral': (share * y, share**2 * s**2 + share * s**2),
  }[name]

  def one(key: jax.Array) -> jax.Array:
    denoise = lambda x, t: c**2 / (c**2 + t**2) * x  # noqa: E731
    return editing.redraw(denoise, down, jnp.full((1, 1, 1), y), strength, key)

  x = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 8000))
  assert x.mean() == pytest.approx(mean, abs=0.03)
  assert x.std() == pytest.approx(np.sqrt(variance), rel=0.05)


def test_no_key_is_drawn_from_twice() -> None:
  known = jnp.array([True, False]).reshape(1, 2, 1)
  down, y, key = descent('ancestral', 5), jnp.ones((1, 2, 1)), jax.random.key(0)
  check_keys(lambda key: editing.inpaint(correlated, down, y, known, 2, 2, key), key)
  check_keys(lambda key: editing.redraw(correlated, down, y, 0.7, key), key)


def test_codes_lie_on_the_sphere_between_their_ends() -> None:
  a, b = jnp.array([[3.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [3.0, 0.0]])
  np.testing.assert_allclose(between(a, b, 0.0), a, atol=1e-6)
  np.testing.assert_allclose(between(a, b, 1.0), b, atol=1e-6)
  for share in (0.2, 0.5):
    angle = share * np.pi / 2
    expected = [[3 * np.cos(angle), 0.0], [3 * np.sin(angle), 0.0]]
    np.testing.assert_allclose(between(a, b, share), expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(between(a, 2 * a, 0.25), 1.25 * a, rtol=1e-6)
  np.testing.assert_allclose(between(a, 0 * a, 0.25), 0.75 * a, rtol=1e-6)


@pytest.mark.parametrize('sampler', ['ancestral', 'ddim'])
def test_a_diffusion_in_steps_has_codes_too(sampler: str) -> None:
  """On the flow of Gaussian data an image keeps its place in its deviation; and back again."""
  objective = denoisers.model(denoisers.Exact(200), sampler=sampler, steps=200)
  image, key = denoisers.M + jnp.array([[-0.3, 0.1], [0.0, 0.5]])[..., None], jax.random.key(0)
  latent = jax.jit(objective.encode)({}, image, key)
  expected = (image - denoisers.M) / np.sqrt(denoisers.V)
  np.testing.assert_allclose(latent, expected, rtol=0.02, atol=0.02)
  np.testing.assert_allclose(jax.jit(objective.decode)({}, latent, key), image, atol=0.01)
  half = jax.jit(lambda key: objective.edit({}, image, jnp.int32(-1), 0.01, key))(key)
  np.testing.assert_allclose(half, image, atol=0.1)


@pytest.fixture(scope='module')
def trained() -> Model:
  """A model whose network knows the law of its data."""
  objective = model(Exact('edm', 'preconditioned'), sampler={'name': 'ddim', 'steps': 100})
  config = edm.get_config()
  return Model(config, objective, Facts(SHAPE, 8, (3, 5)), initial_state(objective, 0))


PICTURES = np.array([[10, 60, 120, 90], [70, 5, 200, 100]], np.uint8).reshape(2, *SHAPE)


def test_a_loaded_model_keeps_what_is_known(trained: Model) -> None:
  """And draws the rest from the data's law, as no pixel here knows of another."""
  known = np.array([[True, False], [False, False]])
  many = np.broadcast_to(PICTURES[:1], (500, *SHAPE))
  x = trained.inpaint(many, known, seed=1, repeats=1)
  np.testing.assert_array_equal(x[:, 0, 0], 10)
  rest = x[:, ~known] / 127.5 - 1.0
  law = np.clip(MEAN + DEVIATION * stats.norm.ppf(np.linspace(0, 1, 1001)[1:-1]), -1.0, 1.0)
  assert rest.mean() == pytest.approx(law.mean(), abs=0.05)
  assert rest.std() == pytest.approx(law.std(), rel=0.1)
  np.testing.assert_array_equal(trained.inpaint(many[:3], known, seed=1, repeats=1), x[:3])
  each = np.stack([~known, known])
  x = trained.inpaint(PICTURES, each, repeats=2, jump=3)
  np.testing.assert_array_equal(x[each], PICTURES[each])


def test_a_loaded_model_edits_by_its_strength(trained: Model) -> None:
  distances = [
    np.abs(trained.edit(PICTURES, strength, seed=2).astype(int) - PICTURES).mean()
    for strength in (0.01, 0.3, 0.9)
  ]
  assert distances[0] < 3
  assert distances == sorted(distances)


def test_interpolation_ends_at_the_images(trained: Model) -> None:
  a, b = PICTURES[:1], PICTURES[1:]
  way = trained.interpolate(a, b, 5)
  assert way.shape == (1, 5, *SHAPE)
  np.testing.assert_allclose(way[:, 0], a, atol=2)
  np.testing.assert_allclose(way[:, -1], b, atol=2)
  assert (way[0, 1:-1] != a).any()


@pytest.mark.parametrize(
  ('attempt', 'message'),
  [
    (lambda m: m.inpaint(PICTURES, np.ones((2, 2))), r'known is float64 \(2, 2\); give bool'),
    (lambda m: m.inpaint(PICTURES, np.ones((3, 2), bool)), r'known is bool \(3, 2\); give bool'),
    (lambda m: m.inpaint(PICTURES, np.ones((2, 2), bool), repeats=0), 'repeats=0 and jump=1 must'),
    (lambda m: m.inpaint(PICTURES, np.ones((2, 2), bool), label=1), 'trained without labels'),
    (lambda m: m.edit(PICTURES, 0.0), 'strength=0.0 must be above 0'),
    (lambda m: m.edit(PICTURES, 1.5), 'strength=1.5 must be above 0 and at most 1'),
    (lambda m: m.edit(PICTURES / 2), 'pictures are float64'),
    (lambda m: m.interpolate(PICTURES, PICTURES[:1]), 'there are 2 starts and 1 ends'),
    (lambda m: m.interpolate(PICTURES, PICTURES, 1), 'count=1 must be at least 2'),
  ],
)
def test_what_cannot_be_edited(
  trained: Model, attempt: Callable[[Model], Any], message: str
) -> None:
  with pytest.raises(UserError, match=message):
    attempt(trained)


def test_models_that_do_not_denoise_say_so(trained: Model) -> None:
  bare = Model(
    trained.config,
    trained.objective._replace(inpaint=None, edit=None, encode=None),
    trained.facts,
    trained.state,
  )
  known = np.ones((2, 2), bool)
  for attempt, verb in (
    (lambda: bare.inpaint(PICTURES, known), 'inpaint'),
    (lambda: bare.edit(PICTURES), 'edit'),
    (lambda: bare.interpolate(PICTURES, PICTURES), 'encode'),
  ):
    with pytest.raises(UserError, match=f"the objective 'diffusion' cannot {verb}"):
      attempt()
