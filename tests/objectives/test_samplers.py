"""Samplers against Gaussians and mixtures, whose denoisers are known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError, offered
from jaxgen.objectives.diffusion import samplers
from jaxgen.objectives.diffusion.grids import GRIDS
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers import (
  heun,
  langevin,
  predictor_corrector,
)
from jaxgen.objectives.diffusion.samplers.base import State
from tests.draws import check_keys
from tests.objectives.gaussian import PATHS, SHAPE, C, each_row, expected_x_0

NAMES = [name for name in offered(samplers.__name__, 'sampler') if name != 'langevin']


def test_the_corrector_is_a_step_of_langevin_dynamics() -> None:
  """x + e score + sqrt(2 e) z with e = 2 (r s)^2, where x_0 = 0 is seen: score = -x / s^2."""
  path, times = PATHS['ve'], np.array([0.6, 0.5])
  (row,) = each_row(predictor_corrector.sampler(snr=0.3).rows(path, times))
  x = jnp.full((40, 50, 1), 5.0)
  seen = []
  denoise = lambda x, t: seen.append(x) or jnp.zeros_like(x)  # noqa: E731
  state = State(x, jnp.zeros_like(x))
  predictor_corrector.sampler(snr=0.3).step(denoise, state, row, jax.random.key(0))
  s = float(path.s(times[0]))
  size = 2 * (0.3 * s) ** 2
  moved = np.asarray(seen[1] - seen[0])
  assert moved.mean() == pytest.approx(-size * 5.0 / s**2, abs=0.1 * np.sqrt(size))
  assert moved.std() == pytest.approx(np.sqrt(2 * size), rel=0.05)


def sampled(
  descent: samplers.Descent, denoise: Any, scale: float, count: int, key: int = 0
) -> np.ndarray:
  """Samples (count, 1, 1, 1) of pixels that start as noise of this deviation."""

  def one(key: jax.Array) -> jax.Array:
    first, way = jax.random.split(key)
    return descent.run(denoise, scale * jax.random.normal(first, (1, 1, 1)), way, 1)[-1]

  return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(key), count)))


MIXTURE = np.array([[0.3, -0.8, 0.1], [0.7, 0.5, 0.2]])  # weights, means, deviations


def mixture_denoiser(path: Path) -> Callable[[jax.Array, jax.Array], jax.Array]:
  """E[x_0 | x_t] of the mixture: the mean of each part's, by how likely it is."""

  def denoise(x: jax.Array, t: jax.Array) -> jax.Array:
    parts = [
      (
        jnp.log(w) - 0.5 * (x - path.a(t) * m) ** 2 / v - 0.5 * jnp.log(v),
        expected_x_0(path, m, c)(x, t),
      )
      for w, m, c in MIXTURE.tolist()
      for v in [path.a(t) ** 2 * c**2 + path.s(t) ** 2]
    ]
    logits, means = (jnp.stack(column) for column in zip(*parts, strict=True))
    return jnp.sum(jax.nn.softmax(logits, axis=0) * means, axis=0)

  return denoise


@pytest.mark.parametrize('kind', ['subvp', 'edm'])  # the order of convergence is that of all
@pytest.mark.parametrize('name', NAMES)
def test_samplers_recover_a_mixture(name: str, kind: str) -> None:
  """Its first three moments, and the weight of a part, of 10,000 draws."""
  path = PATHS[kind]
  steps = 2 if name == 'dormand_prince' else 200
  descent = samplers.find(path, name, steps, 'log_snr', sigma_min=0.01, sigma_max=20.0)
  x = sampled(descent, mixture_denoiser(path), float(path.s(np.array(descent.start))), 10_000)
  weights, means, deviations = MIXTURE.T
  moments = [
    np.sum(weights * means),
    np.sum(weights * (means**2 + deviations**2)),
    np.sum(weights * (means**3 + 3 * means * deviations**2)),
  ]
  np.testing.assert_allclose([np.mean(x**k) for k in (1, 2, 3)], moments, atol=0.03)
  assert np.mean(x < 0) == pytest.approx(0.3 + 0.7 * 0.0062, abs=0.02)


def test_churn_raises_the_noise_and_keeps_the_law() -> None:
  """Heun's way with and without churn: other samples, the same deviation."""
  path = PATHS['edm']
  calm, churned = (
    sampled(
      samplers.find(path, 'heun', 40, sigma_max=20.0, rho=7.0, **fields),
      expected_x_0(path),
      float(np.hypot(20.0, C)),
      20_000,
    )
    for fields in ({}, {'churn': 10.0})
  )
  np.testing.assert_allclose([calm.std(), churned.std()], C, rtol=0.02)
  assert np.abs(np.corrcoef(calm.ravel(), churned.ravel())[0, 1]) < 0.9
  # S_noise > 1 leaves too much of it, as it is meant to.
  noisy = samplers.find(path, 'heun', 40, sigma_max=20.0, rho=7.0, churn=10.0, churn_noise=1.2)
  assert sampled(noisy, expected_x_0(path), 20.0, 20_000).std() > 1.02 * C


def test_churn_ends_at_its_bounds() -> None:
  sampler, path = heun.sampler(churn=10.0, churn_min=0.1, churn_max=1.0), PATHS['vp']
  times = GRIDS['log_snr'](path, 31, 0.01, 100.0)
  rows = sampler.rows(path, times)
  inside = (path.sigma(times[:-1]) >= 0.1) & (path.sigma(times[:-1]) <= 1.0)
  np.testing.assert_array_equal(rows.added > 0, inside)
  grown = path.sigma(rows.start.t) / path.sigma(times[:-1])
  np.testing.assert_allclose(grown, np.where(inside, 1 + 10 / 31, 1.0))
  after = rows.scale**2 * path.s(times[:-1]) ** 2 + rows.added**2
  np.testing.assert_allclose(after, rows.start.s**2)


@pytest.mark.parametrize('rate', [0.1, 0.5])
def test_langevin_settles_where_its_recursion_does(rate: float) -> None:
  """At variance k^2 = a^2 c^2 + s^2 over 1 - eta / (2 k^2), here with eta = rate s^2."""
  path = PATHS['ve']
  times = path.time(np.array([1.001, 1.0]))
  sampler = langevin.sampler(inner=60, rate=rate)
  (row,) = each_row(sampler.rows(path, times))

  def one(key: jax.Array) -> jax.Array:
    start = State(jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1)))
    return sampler.step(expected_x_0(path), start, row, key).x

  x = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 40_000))
  k2 = C**2 + 1.0
  np.testing.assert_allclose(x.var(), k2 / (1 - rate / (2 * k2)), rtol=0.03)


@pytest.mark.parametrize('name', [*NAMES, 'langevin'])
def test_no_key_is_drawn_from_twice(name: str) -> None:
  path = PATHS['edm']
  fields = {'churn': 4.0} if name == 'heun' else {}
  descent = samplers.find(path, name, 6, sigma_max=20.0, **fields)
  check_keys(
    lambda key: descent.run(expected_x_0(path), jnp.ones(SHAPE), key, 3), jax.random.key(0)
  )


@pytest.mark.parametrize('name', [*NAMES, 'langevin'])
def test_evaluations_are_counted(name: str) -> None:
  """Where they are known before; of the others, that they are not."""
  descent = samplers.find(PATHS['edm'], name, 7, sigma_max=20.0)
  twice = samplers.find(PATHS['edm'], name, 7, sigma_max=20.0, evaluations=2)
  if name == 'dormand_prince':
    assert descent.evaluations is None
    assert twice.evaluations is None
    return
  assert twice.evaluations == 2 * descent.evaluations
  _, calls = counted(descent, lambda x, t: 0.0 * x * t, jnp.ones(SHAPE))
  assert calls == descent.evaluations


def counted(descent: samplers.Descent, denoise: Any, x: jax.Array) -> tuple[jax.Array, int]:
  """The sample that x becomes, and how often that denoises, counted outside of JAX."""
  calls = []

  def counting(x: jax.Array, t: jax.Array) -> jax.Array:
    jax.debug.callback(lambda: calls.append(1))
    return denoise(x, t)

  found = jax.block_until_ready(descent.run(counting, x, jax.random.key(0), 1))
  jax.effects_barrier()
  return found[-1], len(calls)


@pytest.mark.parametrize('kind', ['vp', 'edm', 'straight'])
def test_the_error_of_dormand_and_prince_follows_its_tolerance(kind: str) -> None:
  """Along the flow of Gaussian data x keeps its place in its deviation k."""
  path, errors, calls = PATHS[kind], [], []
  for tolerance in (1e-2, 1e-3, 1e-4):
    descent = samplers.find(
      path, 'dormand_prince', 2, 'log_snr', sigma_min=0.1, sigma_max=20.0, tolerance=tolerance
    )
    k = np.hypot(path.a(descent.times) * C, path.s(descent.times))
    x_0, evaluations = counted(descent, expected_x_0(path), jnp.full(SHAPE, float(k[0])))
    end = expected_x_0(path)(k[1], descent.times[1])
    errors.append(np.abs(x_0 - end).max())
    calls.append(evaluations)
  assert (np.array(errors) < [2e-2, 2e-3, 2e-4]).all()
  assert calls == sorted(calls)
  assert calls[-1] > calls[0]
  assert all((n - 3) % 6 == 0 for n in calls)  # six a step, two to begin with, and x_0


def test_each_image_takes_the_steps_that_it_needs() -> None:
  """Beside others as alone, to the bit."""
  path = PATHS['edm']
  descent = samplers.find(path, 'dormand_prince', 2, sigma_max=20.0)
  run = jax.jit(jax.vmap(lambda x: descent.run(mixture_denoiser(path), x, jax.random.key(0))))
  x = jnp.array([-30.0, 0.1, 25.0]).reshape(3, 1, 1, 1)
  together = run(x)
  for i in range(3):
    np.testing.assert_array_equal(run(jnp.stack([x[i]] * 3))[0], together[i])


def test_pictures_on_the_way_end_with_the_sample() -> None:
  """With x_0 = 0 kept, DDIM scales x by sigma: what is shown are the sigmas, then x_0."""
  descent = samplers.find(PATHS['edm'], 'ddim', 5, 'log_snr', sigma_min=1.0, sigma_max=16.0)
  shown = descent.run(lambda x, t: jnp.zeros_like(x), jnp.full(SHAPE, 16.0), jax.random.key(0), 5)
  np.testing.assert_allclose(shown[:, 0, 0, 0], [8.0, 4.0, 2.0, 1.0, 0.0], rtol=1e-5)


@pytest.mark.parametrize(
  ('fields', 'error', 'message'),
  [
    ({'name': 'hean'}, UserError, "Unknown sampler 'hean'. Did you mean 'heun'"),
    ({'grid': 'cubic'}, ValueError, "sampler.grid='cubic'; choose one of karras, log_snr, time"),
    ({'steps': 1}, ValueError, 'sampler.steps=1 must be at least 2'),
    (
      {'path': PATHS['edm'], 'sigma_min': 0.0, 'sigma_max': 80.0},
      ValueError,
      'sampler.sigma_min=0.0 and sampler.sigma_max=80 must rise',
    ),
    ({'sigma_min': -1.0}, ValueError, 'sampler.sigma_min=-1.0 and sampler.sigma_max=50 must rise'),
    ({'sigma_max': 60.0}, ValueError, 'at most 50, the most noise it knows'),
    ({'rho': -1.0}, ValueError, 'sampler.rho=-1.0 must be positive'),
    (
      {'rho': 7.0, 'grid': 'time'},
      ValueError,
      'sampler.rho=7.0 has no effect on heun: use sampler.grid=karras, or set it to 0',
    ),
    ({'eta': 0.5}, ValueError, 'sampler.eta=0.5 has no effect on heun: use sampler.name=ddim'),
    ({'temper': 0.5}, ValueError, 'sampler.temper=0.5 has no effect on heun: no sampler takes it'),
    ({'name': 'ddim', 'eta': 2.0}, ValueError, 'sampler.eta=2.0 must lie between 0 and 1'),
    ({'churn_min': 0.1}, ValueError, 'sampler.churn_min=0.1 has no effect without sampler.churn'),
    ({'churn': -1.0}, ValueError, 'sampler.churn=-1.0 must not be negative'),
    ({'name': 'predictor_corrector', 'snr': -1.0}, ValueError, 'sampler.snr=-1.0 must lie'),
    ({'name': 'probability_flow', 'order': 3}, ValueError, 'sampler.order=3; choose 1 .* or 2'),
    ({'name': 'langevin', 'rate': 2.0}, ValueError, 'sampler.rate lie between|sampler.rate=2.0'),
    ({'name': 'dormand_prince', 'tolerance': -1.0}, ValueError, 'sampler.tolerance=-1.0 must be'),
  ],
)
def test_samplers_that_cannot_be(
  fields: dict[str, Any], error: type[Exception], message: str
) -> None:
  with pytest.raises(error, match=message):
    samplers.find(**{'path': PATHS['ve'], 'name': 'heun', 'steps': 9} | fields)
