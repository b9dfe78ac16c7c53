"""What a denoiser gives its network, and what it makes of the answer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.objectives.diffusion import prediction, process
from jaxgen.objectives.diffusion.denoiser import Denoiser
from jaxgen.objectives.diffusion.diffusion import error_name
from jaxgen.objectives.diffusion.path import find_path


@pytest.mark.parametrize(
  ('density', 'prediction_', 'weighting', 'name'),
  [
    ('uniform', 'noise', 'output', 'noise_squared_error'),
    ('log_normal', 'v', 'output', 'log_normal_v_squared_error'),
    ('cosine', 'v', 'min_snr', 'cosine_min_snr_weighted_squared_error'),
  ],
)
def test_an_error_is_called_by_what_is_averaged(
  density: str, prediction_: str, weighting: str, name: str
) -> None:
  assert error_name(density, prediction_, weighting) == name


@pytest.mark.parametrize('schedule', ['linear', 'cosine'])
def test_a_diffusion_of_one_step_would_leave_nothing(schedule: str) -> None:
  with pytest.raises(ValueError, match='timesteps=1 makes a step of variance 1: '):
    process.alpha_bars(schedule, 1)


def test_straight_paths_lead_to_the_image_itself() -> None:
  path = find_path('straight')
  assert (path.first, path.s(path.first), path.a(path.first)) == (0.0, 0.0, 1.0)


class Ramp(nn.Module):
  """The same image whatever it sees."""

  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.linspace(-3.0, 3.0, x.size).reshape(x.shape)


def test_clipping_brings_pixels_and_not_what_is_left_of_them_into_range() -> None:
  """Networks see pixels without their mean, so that they lie in [-1 - mean, 1 - mean]."""
  path, mean = find_path('edm'), -0.3
  says_image = prediction.find('image', path, 1.0)
  x_t = jnp.zeros((3, 3, 1))
  for clip, (low, high) in ((False, (-3.0, 3.0)), (True, (-0.7, 1.3))):
    denoiser = Denoiser(Ramp(), path, says_image, mean=mean, clip=clip)
    y = denoiser({}, x_t, jnp.float32(1.0), jnp.int32(-1))
    np.testing.assert_allclose([y.min(), y.max()], [low, high], rtol=1e-6)
