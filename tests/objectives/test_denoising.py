"""Diffusion of Gaussian data, of which the best denoiser, its loss and its samples are known."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.datasets.splits import Facts
from jaxgen.devices import parallel
from jaxgen.errors import offered
from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import density, prediction, samplers, weighting
from jaxgen.objectives.diffusion.denoiser import Denoiser
from jaxgen.objectives.diffusion.diffusion import diffusion
from jaxgen.objectives.diffusion.grids import GRIDS
from jaxgen.objectives.diffusion.guidance import Guidance
from jaxgen.objectives.diffusion.path import PATHS, find_path
from jaxgen.objectives.diffusion.trajectory import FRAMES
from tests.examples import dealt, draw, example, examples, on_one_device

SHAPE = (2, 2, 1)
MEAN, DEVIATION = -0.4, 0.6
PREDICTIONS = ('noise', 'image', 'v', 'score', 'velocity', 'preconditioned')


def time_on(clock: jax.Array, path: str) -> jax.Array:
  """The t at which a path's clock stands so."""
  match path:
    case 'edm':
      return jnp.exp(4.0 * clock / 1000.0)
    case 'straight':
      return 1.0 - clock / 1000.0
  return clock / 1000.0


class Exact(nn.Module):
  """E[y | x_t] of data y ~ N(0, DEVIATION^2), as this prediction says it; or an error beside it."""

  along: str
  meaning: str
  error: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    path, t = find_path(self.along), time_on(t, self.along)
    predicted = prediction.find(self.meaning, path, DEVIATION)
    a, s = path.a(t), path.s(t)
    y = a * DEVIATION**2 * x / (a**2 * DEVIATION**2 + s**2)
    one = self.param('one', nn.initializers.ones, ())
    return one * (y - predicted.x_0(jnp.zeros_like(x), x, t)) / predicted.slope(t) + self.error


class Zero(nn.Module):
  """Nothing, as an untrained U-Net says: preconditioned, the exact denoiser."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return self.param('zero', nn.initializers.zeros, ()) * x


class Clock(nn.Module):
  """The time that it is told, in thousands, at every pixel."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return self.param('one', nn.initializers.ones, ()) * jnp.full_like(x, t / 1000.0)


class Repeating(nn.Module):
  """What it sees."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return self.param('one', nn.initializers.ones, ()) * x


def model(
  network: nn.Module,
  path: str = 'edm',
  meaning: str = 'preconditioned',
  law: str = 'log_normal',
  counted: str = 'output',
  sampler: dict[str, Any] | None = None,
  guidance: Guidance = Guidance(),  # noqa: B008
  P_mean: float = 0.0,
  P_std: float = 1.2,
  levels: int = 7,
  **fields: Any,
) -> Objective:
  known = ('mean', 'unit_input', 'conditional', 'clip')
  own = {'mean': MEAN} | {name: fields.pop(name) for name in known if name in fields}
  along = find_path(path)
  predicted = prediction.find(meaning, along, DEVIATION)
  chosen = {'name': 'dpm_solver_2m', 'steps': 40, 'sigma_max': min(80.0, largest(path))}
  return diffusion(
    Denoiser(network, along, predicted, DEVIATION, **own),
    optax.sgd(0.1),
    Facts(SHAPE, 8, (3, 5)),
    density.find(law, along, P_mean, P_std, levels),
    weighting.find(counted, along, predicted),
    samplers.find(along, **chosen | (sampler or {})),
    guidance,
    **fields,
  )


def largest(path: str) -> float:
  """The most noise of a path."""
  along = find_path(path)
  return float(along.sigma(np.array(along.last))) if np.isfinite(along.last) else np.inf


def drawn(objective: Objective, count: int) -> np.ndarray:
  params, _ = objective.init(jax.random.key(0))
  return np.asarray(draw(objective, params, jax.random.split(jax.random.key(1), count)))


def losses(objective: Objective, images: jax.Array) -> tuple[float, float]:
  """In training, and held out."""
  keys = jax.random.split(jax.random.key(1), len(images))
  params, memory = objective.init(jax.random.key(0))
  trained = jax.jit(on_one_device(objective))(params, memory, images, keys)[2]['loss']
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, 0)))
  (held_out,) = evaluate(params, examples(images), keys).values()
  return float(trained), float(held_out.mean())


def gaussian(count: int) -> jax.Array:
  """Images of the data."""
  return MEAN + DEVIATION * jax.random.normal(jax.random.key(0), (count, *SHAPE))


def settled(steps: int) -> float:
  """Langevin's deviation over the data's: its steps of finite size are biased, as is known."""
  times = GRIDS['karras'](find_path('edm'), steps, 0.01, 80.0)
  variance = 80.0**2
  for s in times[1:]:
    kept = 1.0 - 0.1 * s**2 / (s**2 + DEVIATION**2)
    for _ in range(5):
      variance = kept**2 * variance + 2.0 * 0.1 * s**2
  return np.sqrt(variance) * DEVIATION / (times[-1] ** 2 + DEVIATION**2)


@pytest.mark.parametrize('name', sorted(offered(samplers.__name__, 'sampler')))
def test_zero_network_samples_the_gaussian_it_stands_for(name: str) -> None:
  """N(mean, sigma_data^2), through every sampler, to what so many of its steps lose."""
  steps = 400 if name in ('ancestral', 'ddim', 'euler_maruyama', 'predictor_corrector') else 80
  x = drawn(model(Zero(), sampler={'name': name, 'steps': steps}), 2000).ravel()
  x = (x - MEAN) / DEVIATION
  assert x.mean() == pytest.approx(0.0, abs=0.05)
  assert x.std() == pytest.approx(settled(steps) if name == 'langevin' else 1.0, abs=0.03)
  assert stats.kurtosis(x) == pytest.approx(0.0, abs=0.25)


@pytest.mark.parametrize('meaning', PREDICTIONS)
@pytest.mark.parametrize('path', PATHS)
def test_the_exact_denoiser_samples_the_data(path: str, meaning: str) -> None:
  """Whatever its output means, on any path."""
  x = drawn(model(Exact(path, meaning), path, meaning), 2000)
  assert x.mean() == pytest.approx(MEAN, abs=0.04)
  assert x.std() == pytest.approx(DEVIATION, rel=0.04)


@pytest.mark.parametrize('path', ['vp', 'subvp', 've', 'straight'])
def test_the_exact_score_samples_the_data_through_its_equation(path: str) -> None:
  sampler = {'name': 'euler_maruyama', 'steps': 400, 'grid': 'log_snr', 'sigma_min': 0.02}
  x = drawn(model(Exact(path, 'noise'), path, 'noise', sampler=sampler), 2000)
  assert x.mean() == pytest.approx(MEAN, abs=0.04)
  assert x.std() == pytest.approx(DEVIATION, rel=0.04)


@pytest.mark.parametrize(
  ('path', 'meaning', 'law', 'counted'),
  [
    ('vp', 'noise', 'uniform', 'output'),
    ('subvp', 'v', 'uniform', 'image'),
    ('ve', 'score', 'levels', 'noise'),
    ('edm', 'preconditioned', 'log_normal', 'output'),
    ('edm', 'image', 'log_normal', 'truncated_snr'),
    ('straight', 'velocity', 'uniform', 'output'),
    ('straight', 'velocity', 'log_normal', 'min_snr'),
    ('vp', 'v', 'cosine', 'output'),
    ('straight', 'noise', 'log_normal', 'v'),
    ('ve', 'score', 'levels', 'likelihood'),
  ],
)
def test_loss_of_the_exact_denoiser_is_the_variance_that_is_left(
  path: str, meaning: str, law: str, counted: str
) -> None:
  """w c^2 s^2 / (a^2 c^2 + s^2) at each level, w the weight of x_0's error; errors add to it."""
  along = find_path(path)
  predicted = prediction.find(meaning, along, DEVIATION)
  places = (np.arange(20_000) + 0.5) / 20_000
  t = np.asarray(density.find(law, along, 0.0, 1.2, 7)(jnp.asarray(places)), np.float64)
  a, s = along.a(t), along.s(t)
  slope = np.asarray(predicted.slope(t))
  weights = {
    'output': slope**-2.0,
    'image': 1.0 + 0.0 * t,
    'noise': (a / s) ** 2,
    'v': (a / s) ** 2 + 1.0,
    'truncated_snr': np.maximum((a / s) ** 2, 1.0),
    'min_snr': np.minimum((a / s) ** 2, 5.0),
    'likelihood': along.g2(t) * (a / s**2) ** 2,
  }[counted]
  left = DEVIATION**2 * s**2 / (a**2 * DEVIATION**2 + s**2)
  build = partial(model, path=path, meaning=meaning, law=law, counted=counted, times=4)
  for error in (0.0, 0.5):
    expected = np.mean(weights * (left + (error * slope) ** 2))
    found = losses(build(Exact(path, meaning, error)), gaussian(8_000))
    np.testing.assert_allclose(found, expected, rtol=0.05)


@pytest.mark.parametrize(
  ('law', 'path', 'expected'),
  [
    ('log_normal', 'edm', stats.norm(2.0, 0.2)),  # a quarter of ln sigma
    ('uniform', 'vp', stats.uniform()),
    ('uniform', 've', stats.uniform()),
    ('log_normal', 'straight', None),
    ('cosine', 'straight', None),
  ],
)
def test_noise_levels_of_evaluation_and_training_follow_the_density(
  law: str, path: str, expected: Any
) -> None:
  """A network that says the time of an image of 0 has its square as its loss."""
  objective = model(
    Clock(), path, 'image', law, P_mean=8.0 if path == 'edm' else 1.0, P_std=0.8,
    stratified=False, times=1,
  )  # fmt: skip
  if expected is None:  # the papers' time on the straight path is 1 / (1 + sigma)
    sigmas = {
      'log_normal': stats.lognorm(0.8, scale=np.e).rvs(10**5, random_state=0),
      'cosine': np.tan(np.pi / 2 * np.random.default_rng(0).uniform(size=10**5)),
    }[law]
    expected = stats.ecdf(1.0 / (1.0 + sigmas)).cdf.evaluate
  else:
    expected = expected.cdf
  params, memory = objective.init(jax.random.key(0))
  image, keys = jnp.full(SHAPE, MEAN), jax.random.split(jax.random.key(1), 2000)
  step = jax.jit(on_one_device(objective))
  squares = {
    'evaluation': lambda key: next(iter(objective.evaluate(params, example(image), key).values())),
    'training': lambda key: step(params, memory, image[None], key[None])[2]['loss'],
  }
  for use, square in squares.items():
    times = np.sqrt(np.asarray(jax.jit(jax.vmap(square))(keys)))
    assert stats.kstest(times, expected).pvalue > 0.01, use


def test_levels_are_so_many_and_as_many_of_each() -> None:
  along = find_path('ve')
  t = density.find('levels', along, 0.0, 1.0, 4)(jnp.linspace(0.001, 0.999, 1000))
  found, counts = np.unique(np.asarray(along.s(t)), return_counts=True)
  np.testing.assert_allclose(found, np.geomspace(0.01, 50.0, 4), rtol=1e-5)
  assert counts.max() - counts.min() <= 2


def test_a_stratified_batch_has_a_level_in_every_stratum() -> None:
  """The batch's mean of (ln sigma / 4)^2 is the law's to within strata, on 1 and 4 devices."""
  batch = 40
  pixels = np.full((1, batch, *SHAPE), 127, np.uint8)
  mean = 127 / 127.5 - 1.0
  objective = model(Clock(), meaning='image', mean=mean)
  found = {}
  for devices in (1, 4):
    step = parallel.train_steps(objective, 0, 0.0)
    state = parallel.initial_state(objective, 0)
    _, metrics = step(state, dealt(pixels, devices))
    found[devices] = float(metrics['loss'][0])
  np.testing.assert_allclose(found[1], found[4], rtol=1e-5)
  levels = stats.norm.ppf((np.arange(batch) + 0.5) / batch) * 1.2 / 4
  # One draw without strata is off by more than this half of the time.
  assert found[1] == pytest.approx(np.mean(levels**2), rel=0.15)


@pytest.mark.parametrize('path', PATHS)
def test_networks_see_unit_variance_at_any_noise_where_asked(path: str) -> None:
  """Of data of their deviation: a network that repeats it, which should say x_0, is off by this."""
  along = find_path(path)
  fields = {'law': 'cosine', 'times': 4, 'meaning': 'image', 'path': path}
  t = np.asarray(density.find('cosine', along, 0, 1, 7)(jnp.linspace(1e-6, 1 - 1e-6, 20_001)))
  a, s = (f(t.astype(np.float64)) for f in (along.a, along.s))
  for unit in (True, False):
    scale = 1.0 / np.sqrt(a**2 * DEVIATION**2 + s**2) if unit else 1.0
    levels = DEVIATION**2 * (scale * a - 1.0) ** 2 + (scale * s) ** 2
    if not unit and path in ('edm', 've'):
      continue  # a mean without bound, or nearly so
    found = losses(model(Repeating(), unit_input=unit, **fields), gaussian(8_000))
    np.testing.assert_allclose(found, levels.mean(), rtol=0.05)


def test_any_prediction_under_one_weighting_is_one_loss() -> None:
  """Of denoisers that see the same y, weights on x_0 make the same loss, to rounding."""
  found = [
    losses(model(Exact('vp', m), 'vp', m, 'cosine', 'v'), gaussian(200)) for m in PREDICTIONS
  ]
  np.testing.assert_allclose(found, [found[0]] * len(found), rtol=1e-3)


def test_clipping_bounds_samples() -> None:
  """A sample ends with a predicted image, around whatever mean."""
  network = Exact('edm', 'preconditioned', error=3.0)
  assert np.abs(drawn(model(network), 50)).max() > 1.01
  assert np.abs(drawn(model(network, clip=True), 50)).max() == pytest.approx(1.0)


@pytest.mark.parametrize('path', ['edm', 'vp', 'straight'])
def test_an_image_is_encoded_as_the_noise_that_leads_to_it(path: str) -> None:
  """On the flow of Gaussian data x keeps its place in its deviation; and back again."""
  sampler = {'name': 'heun', 'steps': 160}
  objective = model(Exact(path, 'preconditioned'), path, sampler=sampler)
  params, _ = objective.init(jax.random.key(0))
  image, key = MEAN + jnp.array([[-1.0, 0.5], [0.0, 1.2]])[..., None], jax.random.key(1)
  latent = jax.jit(objective.encode)(params, image, key)
  most = min(80.0, largest(path))
  expected = (image - MEAN) / np.hypot(DEVIATION, 0.01) * np.hypot(DEVIATION, most) / most
  np.testing.assert_allclose(latent, expected, rtol=0.01, atol=1e-5)
  back = jax.jit(objective.decode)(params, latent, key)
  np.testing.assert_allclose(back, image, atol=0.01)


@pytest.mark.parametrize('steps', [3, 40])
def test_denoising_shows_a_sample_on_its_way(steps: int) -> None:
  objective = model(Zero(), sampler={'steps': steps})
  params, _ = objective.init(jax.random.key(0))
  key = jax.random.key(3)
  pictures = objective.figures['denoising'](params, examples(jnp.zeros((3, *SHAPE))), key)
  assert pictures.shape == (3, min(steps, FRAMES), *SHAPE)
  np.testing.assert_allclose(
    pictures[:, -1], draw(objective, params, jax.random.split(key, 3)), atol=1e-5
  )
  spread = np.std(pictures, axis=(0, 2, 3, 4))
  assert (np.diff(spread) < 0).all()


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'P_std': -1.0}, 'objective.P_std=-1.0 must be positive'),
    ({'times': 0}, 'evaluation.times=0 must be at least 1'),
    ({'likelihood_steps': -1}, 'evaluation.likelihood_steps=-1 not negative'),
    ({'law': 'levels', 'path': 've', 'levels': 1}, 'objective.levels=1 must be at least 2'),
    ({'law': 'uniform'}, 'objective.density=uniform needs a path whose times end'),
    ({'law': 'even'}, "objective.density='even'; choose one of uniform, log_normal"),
    ({'path': 'vq'}, "objective.path='vq'; choose one of vp, subvp, ve, edm, straight"),
    ({'meaning': 'x'}, "objective.prediction='x'; choose one of noise, image, v, score"),
    ({'counted': 'snr'}, "objective.weighting='snr'; choose one of output, image, noise, v"),
    ({'coupling': 'none'}, "objective.coupling='none'; choose one of independent, optimal"),
    ({'label_dropout': 1.0}, r'objective.label_dropout=1.0 must lie in \[0, 1\)'),
    ({'label_dropout': 0.1}, 'objective.label_dropout=0.1 has no effect on a network that is not'),
    ({'guidance': Guidance(2.0)}, 'sampler.guidance=2.0 needs a model that was trained without'),
    ({'guidance': Guidance(-1.0)}, 'sampler.guidance=-1.0, .* must not be negative'),
    ({'guidance': Guidance(2.0, 3.0, 1.0)}, 'sampler.guidance_min=3.0 and .* rise'),
    ({'guidance': Guidance(1.0, 3.0)}, 'sampler.guidance_min=3.0 .* have no effect'),
  ],
)
def test_hyperparameters_that_cannot_be(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    model(Zero(), **fields)
