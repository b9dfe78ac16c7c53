"""Sampling, step by step and in law, with the denoiser of Gaussian data."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.errors import UserError
from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import process
from tests.examples import draw, examples
from tests.objectives.denoisers import SHAPE, Blind, Exact, M, V, model, tables


def samples(model: Objective, count: int) -> np.ndarray:
  keys = jax.random.split(jax.random.key(2), count)
  return np.asarray(draw(model, {}, keys))


def maps(
  timesteps: int, steps: int, eta: float, variance: str = 'small'
) -> Iterator[tuple[float, float, float]]:
  """With `Exact`, each step is x -> slope x + offset + deviation eps."""
  abar = tables(timesteps)
  table = process.reverse_steps(abar, process.sampling_times(timesteps, steps), eta, variance)
  for t, from_x_0, from_x_t, deviation in zip(*table, strict=True):
    gain = np.sqrt(abar[t]) * V / (abar[t] * V + 1 - abar[t])  # E[x_0 | x_t] = M + gain (x_t - ...)
    yield from_x_0 * gain + from_x_t, from_x_0 * (1 - gain * np.sqrt(abar[t])) * M, deviation


@pytest.mark.parametrize(
  ('sampler', 'steps', 'eta', 'variance'),
  [
    ('ancestral', 200, 0.0, 'small'),  # eta is of ddim
    ('ancestral', 200, 0.0, 'large'),
    ('ddim', 100, 0.0, 'small'),
    ('ddim', 50, 0.5, 'small'),
  ],
)
def test_samples_have_the_moments_of_the_data(
  sampler: str, steps: int, eta: float, variance: str
) -> None:
  """Up to what so many steps lose, which the affine recursion tells exactly."""
  mean, spread = 0.0, 1.0
  for slope, offset, deviation in maps(
    200, steps, 1.0 if sampler == 'ancestral' else eta, variance
  ):
    mean, spread = slope * mean + offset, slope**2 * spread + deviation**2
  x = samples(model(Exact(200), sampler=sampler, steps=steps, eta=eta, variance=variance), 4000)
  np.testing.assert_allclose(x.mean(), mean, atol=5 * np.sqrt(spread / x.size))
  np.testing.assert_allclose(x.var(), spread, rtol=5 * np.sqrt(2 / x.size))
  np.testing.assert_allclose((mean, spread), (M, V), atol=0.03)


def test_ddim_with_eta_1_is_ancestral() -> None:
  ancestral = samples(model(Exact(40), sampler='ancestral', steps=10), 5)
  ddim = samples(model(Exact(40), sampler='ddim', eta=1.0, steps=10), 5)
  np.testing.assert_array_equal(ancestral, ddim)


def affine_maps(steps: int) -> np.ndarray:
  """For eta = 0: slope and offset of x after every step, as a map of x_T."""
  found = [(1.0, 0.0)]
  for slope, offset, _ in maps(40, steps, 0.0):
    found.append((slope * found[-1][0], slope * found[-1][1] + offset))
  return np.array(found[1:])


def test_ddim_with_eta_0_is_an_affine_map_of_its_first_noise() -> None:
  """Undone, it gives the same standard normal noise for any step count."""
  starts = []
  for steps in (5, 40):
    slope, offset = affine_maps(steps)[-1]
    x = samples(model(Exact(40), sampler='ddim', eta=0.0, steps=steps), 500)
    starts.append((x - offset) / slope)
  np.testing.assert_allclose(starts[0], starts[1], atol=1e-3)
  assert stats.kstest(starts[0].ravel(), 'norm').pvalue > 0.01


def test_clipping_bounds_samples() -> None:
  """A denoiser that expects data far outside is held to [-1, 1]."""
  wild = Exact(40, mean=9.0)
  assert samples(model(wild), 5).min() > 7.0
  np.testing.assert_array_equal(samples(model(wild, clip=True), 5), 1.0)


@pytest.mark.parametrize('steps', [4, 40])
def test_denoising_shows_a_sample_on_its_way(steps: int) -> None:
  """At even moments, at most ten, of which the last is the sample: all maps of one first noise."""
  objective = model(Exact(40), sampler='ddim', steps=steps)
  key = jax.random.key(3)
  pictures = jax.jit(objective.figures['denoising'])({}, examples(jnp.zeros((3, *SHAPE))), key)
  drawn = draw(objective, {}, jax.random.split(key, 3))
  np.testing.assert_allclose(pictures[:, -1], drawn, atol=1e-5)
  path, frames = affine_maps(steps), min(steps, 10)
  noise = (np.asarray(drawn) - path[-1, 1]) / path[-1, 0]
  shown = path[np.arange(1, frames + 1) * steps // frames - 1]
  expected = [slope * noise + offset for slope, offset in shown]
  np.testing.assert_allclose(pictures, np.stack(expected, axis=1), atol=1e-3)


@pytest.mark.parametrize(
  ('sampler', 'fields'),
  [
    ('euler_maruyama', {'grid': 'time', 'steps': 400}),
    ('predictor_corrector', {'grid': 'log_snr', 'snr': 0.16, 'steps': 200}),
    ('dpm_solver_2m', {'grid': 'log_snr'}),
    ('heun', {'grid': 'karras', 'rho': 7.0}),
    ('heun', {'grid': 'log_snr', 'churn': 4.0}),  # at first to more noise than the last step has
    ('probability_flow', {'grid': 'log_snr', 'order': 2}),
  ],
)
def test_samplers_on_a_grid_go_between_the_steps(sampler: str, fields: dict[str, Any]) -> None:
  """Gaussian data from the most noise to the least, which leaves E[x_0 | x_1]."""
  objective = model(Exact(1000), sampler=sampler, **({'steps': 40} | fields))
  x = samples(objective, 4000)
  abar = tables(1000)[1]
  spread = np.sqrt(V) * np.sqrt(abar * V / (abar * V + 1 - abar))
  np.testing.assert_allclose(x.mean(), M, atol=0.02)
  np.testing.assert_allclose(x.std(), spread, rtol=0.02)


def test_unknown_samplers_are_refused_with_those_that_are_known() -> None:
  with pytest.raises(UserError, match="Unknown sampler 'hean'"):
    model(Blind(40), sampler='hean')


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'weighting': 'snr'}, 'choose simple or variational'),
    ({'variance': 'exact'}, 'choose small or large or learned or analytic'),
    ({'sampler': 'ddim', 'eta': 3.0}, r'sampler.eta=3.0 must lie between 0 and'),
    ({'eta': 1.0}, r'sampler.eta=1.0 has no effect on ancestral'),
    ({'grid': 'time'}, "sampler.grid='time' has no effect on ancestral, .* or set it to ''"),
    ({'sampler': 'ddim', 'snr': 0.1}, 'sampler.snr=0.1 has no effect on ddim, .* set it to 0.0'),
    ({'sampler': 'heun', 'grid': ''}, "sampler.grid=''; choose one of karras, log_snr, time"),
    ({'sampler': 'heun', 'grid': 'time', 'eta': 0.5}, 'sampler.eta=0.5 has no effect on heun'),
    ({'sampler': 'heun', 'grid': 'time', 'sigma_max': 1e6}, 'the most noise it knows'),
    (
      {'bound_samples': 40},
      'evaluation.bound_samples=40 must lie between 1 and timesteps - 1 = 39',
    ),
    ({'steps': 41}, 'sampler.steps=41'),
  ],
)
def test_hyperparameters_that_cannot_be(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    model(Blind(40), **fields)
