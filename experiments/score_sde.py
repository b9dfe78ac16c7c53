"""Score-based model through a stochastic differential equation (Song et al. 2021)."""

import ml_collections

from experiments import edm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = edm.get_config(dataset)
  config.objective.path = 'vp'  # or subvp, ve
  config.objective.prediction = 'noise'  # the score times the noise's deviation
  config.objective.density = 'uniform'
  config.objective.stratified = False
  config.objective.sigma_data = 1.0
  config.objective.mean = 0.0
  config.sampler.name = 'euler_maruyama'
  config.sampler.steps = 250
  config.sampler.grid = 'time'
  config.sampler.sigma_max = 0.0  # the equation's own
  config.sampler.rho = 0.0
  config.sampler.clip = True
  config.evaluation.training_samples = 0  # so many network evaluations a sample are dear on a CPU
  return config
