"""What a denoiser gives its network, and what it makes of the answer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.diffusion import prediction
from jaxgen.objectives.diffusion.denoiser import Denoiser
from jaxgen.objectives.diffusion.path import find_path


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
