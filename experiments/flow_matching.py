"""Flow matching on straight paths, with DDPM's network (Lipman et al. 2023)."""

import ml_collections

from experiments import ddpm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = ddpm.get_config(dataset)
  config.objective = ml_collections.ConfigDict()
  config.objective.name = 'flow_matching'
  config.objective.sampling_steps = 50  # of Heun's method
  config.objective.evaluation_times = 8
  config.checkpoint.best = 'validation/loss'
  return config
