"""Diffusion of Gaussian data, sampled: the law of what comes out is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.errors import offered
from jaxgen.objectives.diffusion import samplers
from jaxgen.objectives.diffusion.grids import GRIDS
from jaxgen.objectives.diffusion.guidance import Guidance
from jaxgen.objectives.diffusion.path import PATHS, find_path
from jaxgen.objectives.diffusion.trajectory import FRAMES
from tests.examples import draw, examples
from tests.objectives.gaussian import (
  DEVIATION,
  MEAN,
  PREDICTIONS,
  SHAPE,
  Exact,
  Zero,
  drawn,
  largest,
  model,
)


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
