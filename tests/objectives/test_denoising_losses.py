"""Diffusion of Gaussian data, trained: the loss of the best denoiser is known."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.devices import parallel
from jaxgen.objectives.diffusion import density, prediction
from jaxgen.objectives.diffusion.path import PATHS, find_path
from tests.examples import dealt, example, on_one_device
from tests.objectives.gaussian import (
  DEVIATION,
  MEAN,
  PREDICTIONS,
  SHAPE,
  Clock,
  Exact,
  Repeating,
  gaussian,
  losses,
  model,
)


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
  t = np.asarray(
    density.find(law, along, 0.0, 1.2, 7 * (law == 'levels'))(jnp.asarray(places)), np.float64
  )
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
  t = np.asarray(density.find('cosine', along, 0, 1, 0)(jnp.linspace(1e-6, 1 - 1e-6, 20_001)))
  a, s = (f(t.astype(np.float64)) for f in (along.a, along.s))
  for unit in (True, False):
    scale = 1.0 / np.sqrt(a**2 * DEVIATION**2 + s**2) if unit else 1.0
    levels = DEVIATION**2 * (scale * a - 1.0) ** 2 + (scale * s) ** 2
    if not unit and path in ('edm', 've'):
      continue  # a mean without bound, or nearly so
    found = losses(model(Repeating(), unit_input=unit, **fields), gaussian(8_000))
    np.testing.assert_allclose(found, levels.mean(), rtol=0.05)


@pytest.mark.slow
def test_any_prediction_under_one_weighting_is_one_loss() -> None:
  """Of denoisers that see the same y, weights on x_0 make the same loss, to rounding."""
  found = [
    losses(model(Exact('vp', m), 'vp', m, 'cosine', 'v'), gaussian(200)) for m in PREDICTIONS
  ]
  np.testing.assert_allclose(found, [found[0]] * len(found), rtol=1e-3)
