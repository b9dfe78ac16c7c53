"""DDPM with a U-Net (Ho et al. 2020)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('ddpm', dataset)
  config.objective.timesteps = 1000
  config.objective.schedule = 'linear'  # or cosine
  config.objective.weighting = 'simple'  # or variational
  config.objective.variance = 'small'  # or large
  config.objective.sampler = 'ancestral'  # or ddim
  config.objective.sampling_steps = 1000
  config.objective.eta = 0.0  # of ddim: 0 deterministic, 1 ancestral in law
  config.objective.clip = True
  config.objective.bound_samples = 8
  config.network.name = 'unet'
  config.network.channels = 64
  config.optimizer = common.optimizer('adam', 2e-4, clip_norm=1.0)
  return config
