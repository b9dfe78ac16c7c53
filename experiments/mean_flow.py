"""MeanFlow with DDPM's network: samples in one step (Geng et al. 2025)."""

import ml_collections

from experiments import ddpm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = ddpm.get_config(dataset)
  config.objective = ml_collections.ConfigDict()
  config.objective.name = 'mean_flow'  # a module of jaxgen.objectives
  config.objective.t_mean = -0.4  # of logit(t)
  config.objective.t_std = 1.0  # and its deviation
  config.objective.r_mean = -0.4  # of logit(r), the earlier time, taken for t where it is later
  config.objective.r_std = 1.0  # and its deviation
  config.objective.apart = 0.5  # how often r is drawn; where it is t, this is flow matching
  config.objective.power = 1.0  # of the adaptive weight; 0 for the squared error
  config.objective.floor = 0.01  # added to the squared error that the adaptive weight divides by
  config.sampler = ml_collections.ConfigDict()
  config.sampler.name = 'mean_flow'  # the only one
  config.sampler.steps = 1  # network evaluations
  del config.evaluation.bound_samples
  config.evaluation.times = 8  # at which held-out images are looked at
  config.evaluation.training_samples = 1000
  config.checkpoint.best = 'validation/velocity_squared_error'
  if dataset == 'digits':
    config.num_steps = 4000
  return config
