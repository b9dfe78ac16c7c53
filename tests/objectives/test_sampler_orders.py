"""Deterministic steps and those of known noise, followed in float64 through Gaussian data."""

import numpy as np
import pytest

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
  probability_flow,
  unipc,
)
from jaxgen.objectives.diffusion.samplers.base import Sampler, State
from tests.objectives.gaussian import PATHS, C, each_row, expected_x_0


def followed(sampler: Sampler, path: Path, times: np.ndarray) -> float:
  """By what an x is multiplied on a deterministic sampler's way, in float64."""
  state = sampler.start(np.float64(1.0))
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
    (unipc.sampler(), 3),
    (probability_flow.sampler(order=1), 1),
    (probability_flow.sampler(order=2), 2),
  ],
  ids=[
    'em',
    'ancestral',
    'ddim',
    'heun',
    'dpm_2m',
    'dpm_2s',
    'dpm_3s',
    'unipc',
    'euler_flow',
    'heun_flow',
  ],
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
      unipc.sampler(),
    ):
      (row,) = each_row(sampler.rows(path, times))
      state = sampler.start(a[0] * 0.3 + s[0] * 1.7)
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
