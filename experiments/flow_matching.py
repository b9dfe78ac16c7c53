"""Flow matching on straight paths, with DDPM's network (Lipman et al. 2023)."""

import ml_collections

from experiments import ddpm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = ddpm.get_config(dataset)
  config.objective = ml_collections.ConfigDict()
  config.objective.name = 'flow_matching'
  config.sampler = ml_collections.ConfigDict()
  config.sampler.name = 'heun'
  config.sampler.steps = 50  # of two network evaluations each
  del config.evaluation.bound_samples
  config.evaluation.times = 8  # at which held-out images are looked at
  config.checkpoint.best = 'validation/velocity_squared_error'
  return config
