"""Diffusion of the codes of a trained autoencoder (Rombach et al. 2022; Vahdat et al. 2021)."""

import jax
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import diffusion
from jaxgen.objectives.second_stage import find_autoencoder, second_stage


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes, on the codes of the one in its section `autoencoder`."""
  autoencoder, shape = find_autoencoder(config, facts)
  if config.sampler.clip:
    raise ValueError('sampler.clip=True would cut codes, which have no bounds: set it to False')
  of_codes = ml_collections.ConfigDict(config.to_dict())
  del of_codes.objective.autoencoder
  of_codes.objective.update({'sigma_data': 1.0, 'mean': 0.0})
  of_codes.evaluation.likelihood_steps = 0  # which are of pixels
  second = diffusion.build(of_codes, facts._replace(image_shape=shape))
  try:
    jax.eval_shape(second.init, jax.random.key(0))
  except (TypeError, ValueError) as error:
    raise ValueError(
      f'network.name={config.network.name!r} does not take codes {shape}: {error}; mlp takes any'
    ) from error
  return second_stage(second, autoencoder, shape)
