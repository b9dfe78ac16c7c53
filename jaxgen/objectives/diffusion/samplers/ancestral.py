"""Ancestral sampling (Ho et al. 2020, alg. 2; Song et al. 2021, app. F), on any path."""

from jaxgen.objectives.diffusion.samplers import ddim
from jaxgen.objectives.diffusion.samplers.base import Sampler


def sampler() -> Sampler:
  """Draws from q(x_u | x_t, x_0), as if the x_0 that is expected were the image."""
  return ddim.sampler(eta=1.0)
