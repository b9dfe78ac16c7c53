"""Variational diffusion model with DDPM's network (Kingma et al. 2021).

The paper has Fourier features of the two finest octaves. Here are all: near each grey level that of
a noise's own size shows the noise magnified, which a small network need not learn to do.
"""

import ml_collections

from experiments import score_sde


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = score_sde.get_config(dataset)
  config.objective = ml_collections.ConfigDict()
  config.objective.name = 'vdm'  # a module of jaxgen.objectives
  config.objective.features = tuple(range(8))  # k of the Fourier features of 2^k 2 pi z
  del config.sampler.guidance, config.sampler.guidance_min, config.sampler.guidance_max
  config.sampler.name = 'ancestral'
  config.sampler.steps = 250
  config.sampler.grid = 'log_snr'
  config.sampler.sigma_min = 0.002  # close to where gamma begins
  config.sampler.sigma_max = 12.0  # exp(gamma_1 / 2), where it ends
  del config.evaluation.likelihood_steps
  config.checkpoint.best = 'validation/bits_per_dimension'
  return config
