"""Energies by persistent chains: quadratic ones, whose laws and gradients are known."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.objectives.base import Objective
from jaxgen.objectives.energy.energy import energy, nothing
from jaxgen.objectives.energy.langevin import Langevin, chain, denoised
from jaxgen.objectives.energy.persistent import FRAMES, Reading, persistent
from tests.examples import NONE, draw, example, on_one_device

SHAPE = (2, 1, 1)
ETA, T = 0.3, 0.7
STEPS = Langevin(steps=2, step_size=ETA, temperature=T)
MARK = 9.0  # where no chain begins
PARAMS = {'params': {'precision': jnp.float32(1.5)}}


class Quadratic(nn.Module):
  """E(x) = precision |x|^2 / 2."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    precision = self.param('precision', nn.initializers.constant(1.5), ())
    return precision * jnp.sum(x**2)[None] / 2.0


def model(rate: float = 1.0, training: Langevin = STEPS, **fields: Any) -> Objective:
  fields = {'sampling': STEPS, 'buffer': 400} | fields
  return persistent(
    Quadratic(), Reading(energy, nothing), optax.sgd(rate), SHAPE, training, **fields
  )


def precision(params: Any) -> float:
  return float(params['params']['precision'])


def images(count: int, deviation: float = 0.5) -> np.ndarray:
  return deviation * np.random.default_rng(0).normal(size=(count, *SHAPE))


def run(langevin: Langevin, count: int, c: float = 0.8, start: float = 0.0) -> np.ndarray:
  """The ends of so many chains of E(x) = x^2 / (2 c^2)."""
  keys = jax.random.split(jax.random.key(0), count)

  def end(key: Any) -> jax.Array:
    return chain(lambda x: jnp.sum(x**2) / (2.0 * c**2), jnp.full(SHAPE, start), key, langevin)[-1]

  return np.asarray(jax.jit(jax.vmap(end))(keys)).ravel()


@pytest.mark.parametrize(('step_size', 'temperature'), [(0.05, 1.0), (0.6, 1.0), (0.6, 0.01)])
def test_langevin_settles_at_its_temperature(step_size: float, temperature: float) -> None:
  """At the variance T c^2 / (1 - eta / (2 c^2)), which in no limit is that of other noise."""
  c, count = 0.8, 20_000
  ends = run(Langevin(150, step_size, temperature), count, c)
  expected = temperature * c**2 / (1.0 - step_size / (2.0 * c**2))
  spread = len(ends) * np.array([ends.var()]) / expected
  assert 1e-4 < stats.chi2(len(ends)).cdf(spread)[0] < 1.0 - 1e-4
  assert stats.kstest(ends / np.sqrt(expected), 'norm').pvalue > 1e-4


def test_one_step_is_of_the_slope_and_of_noise() -> None:
  ends = run(Langevin(1, ETA, T), 20_000, c=0.8, start=2.0)
  assert ends.mean() == pytest.approx(2.0 - ETA * 2.0 / 0.8**2, abs=0.02)
  assert ends.var() == pytest.approx(2.0 * ETA * T, rel=0.03)


def test_clipped_slopes_make_no_larger_steps() -> None:
  ends = run(Langevin(3, 0.1, 1e-12, clip=0.5), 1, start=10.0)
  np.testing.assert_allclose(ends, 10.0 - 3 * 0.1 * 0.5, atol=1e-4)


def test_frames_are_of_one_chain() -> None:
  x, key, slope = jnp.zeros(SHAPE), jax.random.key(3), lambda x: jnp.sum(x**2)
  frames = chain(slope, x, key, STEPS, frames=3)
  for i, frame in enumerate(frames, start=1):
    alone = chain(slope, x, key, STEPS._replace(steps=STEPS.steps * i))[-1]
    np.testing.assert_allclose(frame, alone, atol=1e-6)


def test_denoised_is_the_mean_of_the_image_under_its_noise() -> None:
  """Of x = x_0 + s eps with x_0 ~ N(0, c^2) it is c^2 / (c^2 + s^2) x."""
  c, s, x = 0.8, 0.3, jnp.array([1.0, -2.0]).reshape(SHAPE)
  noisy = lambda x: T * jnp.sum(x**2) / (2.0 * (c**2 + s**2))  # noqa: E731
  np.testing.assert_allclose(denoised(noisy, x, s, T), c**2 / (c**2 + s**2) * x, rtol=1e-6)


def updated(
  objective: Objective, batch: np.ndarray, mark: bool = False
) -> tuple[Any, Any, np.ndarray, dict]:
  """Parameters before and after one update, the chains that it ran, and its metrics."""
  params, memory = jax.jit(objective.init)(jax.random.key(0))
  if mark:
    memory['chains'] = jnp.full_like(memory['chains'], MARK)
  keys = jax.random.split(jax.random.key(1), len(batch))
  after, then, metrics = jax.jit(on_one_device(objective))(params, memory, batch, keys)
  moved = (then['chains'] != memory['chains']).any(axis=(1, 2, 3))
  return params, after, np.asarray(then['chains'][moved]), metrics


def test_gradient_of_contrastive_divergence() -> None:
  """Of precision |x|^2 / 2: the mean of |x|^2 / 2 over images less that over chains."""
  batch = images(8)
  before, after, chains, metrics = updated(model(buffer=100_000), batch)
  assert len(chains) == len(batch)
  squares = [(x**2).sum(axis=(1, 2, 3)).mean() / 2.0 for x in (batch, chains)]
  assert precision(after) == pytest.approx(precision(before) - squares[0] + squares[1], abs=1e-5)
  assert metrics['energy_of_images'] == pytest.approx(precision(before) * squares[0], rel=1e-5)
  assert metrics['energy_of_chains'] == pytest.approx(precision(before) * squares[1], rel=1e-5)


def test_penalty_is_of_the_squares_of_energies() -> None:
  """Its gradient in the precision is 2 penalty E^2 / precision of each."""
  batch, penalty = images(8), 0.3
  before, after, chains, _ = updated(model(buffer=100_000, penalty=penalty), batch)
  theta = precision(before)
  halves = [(x**2).sum(axis=(1, 2, 3)) / 2.0 for x in (batch, chains)]
  slope = halves[0].mean() - halves[1].mean()
  slope += 2.0 * penalty * theta * sum((half**2).mean() for half in halves)
  assert precision(after) == pytest.approx(theta - slope, rel=1e-4)


def test_learns_the_maximum_of_the_likelihood() -> None:
  """The precision with which chains have the images' variance v: T / (p (1 - eta p / 2)) = v."""
  objective, batch = model(rate=0.05, restart=0.02, buffer=500), images(200, deviation=0.9)
  params, memory = jax.jit(objective.init)(jax.random.key(0))
  step, found = jax.jit(on_one_device(objective)), []
  for i in range(300):
    params, memory, _ = step(params, memory, batch, jax.random.split(jax.random.key(i), 200))
    found.append(precision(params))
  p = 1.0 / ETA - np.sqrt(1.0 / ETA**2 - 2.0 * T / ETA / (batch**2).mean())
  assert np.mean(found[100:]) == pytest.approx(p, rel=0.04)


def test_chains_go_on_or_begin_anew_at_the_stated_rate() -> None:
  """From a buffer of marks, steps of 1e-3: what was drawn is a mark or uniform noise."""
  still = Langevin(1, 1e-6, 1.0)
  count, rate = 2000, 0.2
  fields = {'training': still, 'restart': rate, 'buffer': 200_000}
  chains = updated(model(**fields), np.zeros((count, *SHAPE)), mark=True)[2]
  anew = np.abs(chains).max(axis=(1, 2, 3)) < 1.01
  np.testing.assert_allclose(chains[~anew], MARK, atol=0.02)
  assert (chains[anew].min(), chains[anew].max()) == pytest.approx((-1.0, 1.0), abs=0.01)
  assert count - 40 < len(chains) <= count  # of a place that is drawn twice, the first counts
  assert stats.binomtest(int(anew.sum()), len(chains), rate).pvalue > 1e-4


def test_noise_and_reference_are_in_the_energy() -> None:
  """E = precision |x|^2 / 2 + T |x|^2 / (2 r^2), of an image with noise."""
  r = 0.5
  objective = model(reference=r)
  x = images(1)[0]
  found = jax.jit(objective.evaluate)(PARAMS, example(x), jax.random.key(2))
  expected = (1.5 + T / r**2) * (x**2).sum() / 2.0
  assert found['energy_of_images'] == pytest.approx(expected, rel=1e-5)
  noisy = jax.jit(jax.vmap(model(noise=0.7).evaluate, in_axes=(None, None, 0)))
  found = noisy(PARAMS, example(np.zeros(SHAPE)), jax.random.split(jax.random.key(3), 20_000))
  assert found['energy_of_images'].mean() == pytest.approx(1.5 * 0.7**2, rel=0.03)
  uniform = found['energy_of_uniform_noise'].mean()
  assert uniform == pytest.approx(1.5 * 2 / 3 / 2.0, rel=0.03)


def test_samples_are_of_the_sampler_and_its_temperature() -> None:
  """Noise in training, taken away at the end, leaves a variance smaller by a known factor."""
  objective = model(sampling=Langevin(60, 0.1, 0.2), noise=0.3, denoise=True)
  drawn = draw(objective, PARAMS, jax.random.split(jax.random.key(1), 20_000))
  settled = 0.2 / 1.5 / (1.0 - 0.1 * 1.5 / 2.0)
  assert np.var(drawn) == pytest.approx(settled * (1.0 - 0.3**2 / T * 1.5) ** 2, rel=0.03)


def test_long_chains_are_ten_samples_long() -> None:
  """Their first picture is after a sample's steps, the last of the short ones is a sample."""
  objective = model(sampling=Langevin(2 * FRAMES, 0.1, 0.2))
  key, shown = jax.random.key(1), example(np.zeros(SHAPE))
  few = jax.tree.map(lambda leaf: leaf[None], shown)
  short, long = (
    jax.jit(objective.figures[name])(PARAMS, few, key)[0] for name in ('chains', 'long_chains')
  )
  sample = jax.jit(objective.sample)(PARAMS, NONE, jax.random.split(key, 1)[0])
  np.testing.assert_allclose(short[-1], sample, atol=1e-5)
  np.testing.assert_allclose(long[0], sample, atol=1e-5)
  assert len(long) == FRAMES


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'training': STEPS._replace(steps=0)}, 'objective.steps=0'),
    ({'training': STEPS._replace(temperature=0.0)}, 'objective.temperature=0'),
    ({'sampling': STEPS._replace(step_size=-0.1)}, r'sampler.step_size=-0\.1'),
    ({'sampling': STEPS._replace(clip=-1.0)}, r'sampler.clip=-1\.0'),
    ({'buffer': 0}, 'objective.buffer=0'),
    ({'restart': 1.5}, r'objective.restart=1\.5'),
    ({'noise': -0.1}, r'objective.noise=-0\.1'),
    ({'denoise': True}, 'sampler.denoise=True has no effect'),
  ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    model(**fields)
