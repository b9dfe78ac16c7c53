"""Samplers against Gaussians and mixtures, whose denoisers are known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError, offered
from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion import samplers
from jaxgen.objectives.diffusion.grids import GRIDS
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers import (
  ancestral,
  ddim,
  dpm_solver_2m,
  dpm_solver_2s,
  dpm_solver_3s,
  euler_maruyama,
  heun,
  langevin,
  predictor_corrector,
  probability_flow,
)
from jaxgen.objectives.diffusion.samplers.base import Sampler, State
from tests.draws import check_keys

C = 0.6162  # the deviation of Gaussian data around 0
NAMES = [name for name in offered(samplers.__name__, 'sampler') if name != 'langevin']
PATHS = {name: paths.find_path(name) for name in paths.PATHS}
SHAPE = (2, 2, 1)


def expected_x_0(path: Path, mean: float = 0.0, deviation: float = C) -> Callable[[Any, Any], Any]:
  """E[x_0 | x_t] of data N(mean, deviation^2)."""

  def denoise(x: Any, t: Any) -> Any:
    a, s = path.a(t), path.s(t)
    return mean + a * deviation**2 / (a**2 * deviation**2 + s**2) * (x - a * mean)

  return denoise


def each_row(rows: Any) -> list[Any]:
  columns, tree = jax.tree.flatten(rows)
  return [tree.unflatten(row) for row in zip(*columns, strict=True)]


def followed(sampler: Sampler, path: Path, times: np.ndarray) -> float:
  """By what an x is multiplied on a deterministic sampler's way, in float64."""
  state = State(np.float64(1.0), np.float64(0.0))
  for row in each_row(sampler.rows(path, times)):
    state = sampler.step(expected_x_0(path), state, row, None)
  return float(state.x)


def spread(sampler: Sampler, path: Path, times: np.ndarray) -> float:
  """The deviation after linear steps that start from the exact one, in float64."""
  gain = expected_x_0(path)
  variance = (path.a(times[0]) * C) ** 2 + path.s(times[0]) ** 2
  for row in each_row(sampler.rows(path, times)):
    slope = row.from_x_0 * gain(1.0, row.t) + row.from_x_t
    variance = slope**2 * variance + row.deviation**2
  return float(np.sqrt(variance))


def deviation(path: Path, t: np.ndarray) -> float:
  """Of x_t."""
  return float(np.hypot(path.a(t) * C, path.s(t)))


@pytest.mark.parametrize('name', PATHS)
@pytest.mark.parametrize(
  ('sampler', 'order'),
  [
    (euler_maruyama.sampler(), 1),
    (ancestral.sampler(), 1),
    (ddim.sampler(), 1),
    (heun.sampler(), 2),
    (dpm_solver_2m.sampler(), 2),
    (dpm_solver_2s.sampler(), 2),
    (dpm_solver_3s.sampler(), 3),
    (probability_flow.sampler(order=1), 1),
    (probability_flow.sampler(order=2), 2),
  ],
  ids=['em', 'ancestral', 'ddim', 'heun', 'dpm_2m', 'dpm_2s', 'dpm_3s', 'euler_flow', 'heun_flow'],
)
def test_order_of_convergence(sampler: Sampler, order: int, name: str) -> None:
  """The slope of the error of x's deviation from sigma = 10 to 0.1, over two doublings."""
  path, errors = PATHS[name], []
  counts = (40 if order == 3 else 600) * 2 ** np.arange(3)  # above what rounding leaves
  for count in counts:
    times = GRIDS['log_snr'](path, count + 1, 0.1, 10.0)
    if hasattr(sampler.rows(path, times), 'deviation') and order == 1:
      found = spread(sampler, path, times)
    else:
      found = followed(sampler, path, times) * deviation(path, times[0])
    errors.append(abs(found - deviation(path, times[-1])))
  slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
  assert slope == pytest.approx(order, abs=0.1)


def test_published_errors() -> None:
  """Of Euler-Maruyama and DDIM, 64 even steps of t from 1 to 0.1; worked out by hand."""
  path, times = PATHS['vp'], np.linspace(1.0, 0.1, 65)
  exact = deviation(path, times[-1])
  assert abs(spread(euler_maruyama.sampler(), path, times) - exact) == pytest.approx(
    1.41e-2, rel=0.01
  )
  assert abs(spread(ddim.sampler(), path, times) - exact) == pytest.approx(1.13e-2, rel=0.01)


def test_one_step_from_a_known_image_is_exact() -> None:
  """Where x_0 is certain, the flow is x = a x_0 + s eps with eps kept; all but EM stay on it."""
  times = np.array([0.9, 0.2])
  for path in PATHS.values():
    a, s = path.a(times), path.s(times)
    for sampler in (
      ddim.sampler(),
      heun.sampler(),
      dpm_solver_2m.sampler(),
      dpm_solver_2s.sampler(),
      dpm_solver_3s.sampler(),
    ):
      (row,) = each_row(sampler.rows(path, times))
      state = State(a[0] * 0.3 + s[0] * 1.7, np.float64(0.0))
      state = sampler.step(lambda x, t: 0.3 + 0.0 * x, state, row, None)
      np.testing.assert_allclose(state.x, a[1] * 0.3 + s[1] * 1.7, rtol=1e-9)


@pytest.mark.parametrize('order', [1, 2])
def test_on_the_straight_path_the_flow_of_one_image_is_a_line(order: int) -> None:
  """Even steps of t are Euler's method of the papers: x + h v, exact where v is constant."""
  path, times = PATHS['straight'], np.array([0.9, 0.2])
  (row,) = each_row(probability_flow.sampler(order).rows(path, times))
  state = State(0.1 * 0.3 + 0.9 * 1.7, np.float64(0.0))
  state = probability_flow.sampler(order).step(lambda x, t: 0.3 + 0.0 * x, state, row, None)
  np.testing.assert_allclose(state.x, 0.8 * 0.3 + 0.2 * 1.7, rtol=1e-12)


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


def test_euler_on_the_edm_path_is_ddim() -> None:
  path, times = PATHS['edm'], np.geomspace(10.0, 0.1, 9)
  ways = [followed(s, path, times) for s in (probability_flow.sampler(1), ddim.sampler())]
  np.testing.assert_allclose(ways[0], ways[1], rtol=1e-12)


def test_ancestral_step_is_the_posterior() -> None:
  """Mean and variance of q(x_u | x_t, x_0), by conditioning of Gaussians."""
  times = np.array([0.8, 0.3])
  for path in PATHS.values():
    a, s = path.a(times), path.s(times)
    (row,) = each_row(ancestral.sampler().rows(path, times))
    ratio = a[0] / a[1]  # x_t = ratio x_u + noise
    noise = s[0] ** 2 - ratio**2 * s[1] ** 2
    precision = 1 / s[1] ** 2 + ratio**2 / noise
    np.testing.assert_allclose(row.deviation**2, 1 / precision)
    np.testing.assert_allclose(row.from_x_t, ratio / noise / precision)
    np.testing.assert_allclose(row.from_x_0, a[1] / s[1] ** 2 / precision)


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
  descent = samplers.find(path, name, 200, 'log_snr', sigma_min=0.01, sigma_max=20.0)
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
  """By a denoiser that counts its calls outside of JAX."""
  calls = []

  def denoise(x: jax.Array, t: jax.Array) -> jax.Array:
    jax.debug.callback(lambda: calls.append(1))
    return 0.0 * x * t

  descent = samplers.find(PATHS['edm'], name, 7, sigma_max=20.0)
  assert samplers.find(PATHS['edm'], name, 7, sigma_max=20.0, evaluations=2).evaluations == (
    2 * descent.evaluations
  )
  jax.block_until_ready(descent.run(denoise, jnp.ones(SHAPE), jax.random.key(0), 1))
  jax.effects_barrier()
  assert len(calls) == descent.evaluations


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
  ],
)
def test_samplers_that_cannot_be(
  fields: dict[str, Any], error: type[Exception], message: str
) -> None:
  with pytest.raises(error, match=message):
    samplers.find(**{'path': PATHS['ve'], 'name': 'heun', 'steps': 9} | fields)
