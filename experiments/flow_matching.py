"""Flow matching on straight paths, with DDPM's network (Lipman et al. 2023; Liu et al. 2023)."""

import ml_collections

from experiments import edm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = edm.get_config(dataset)
  config.objective.path = 'straight'
  config.objective.prediction = 'velocity'
  config.objective.density = 'uniform'  # or log_normal with P_std=1 (Esser et al. 2024)
  config.objective.coupling = 'independent'  # or optimal (Tong et al. 2024)
  config.objective.stratified = False
  config.objective.sigma_data = 1.0
  config.objective.mean = 0.0
  config.objective.unit_input = False
  config.sampler.name = 'probability_flow'
  config.sampler.order = 2  # Heun's method, of two network evaluations a step; 1 for Euler's
  config.sampler.steps = 50
  config.sampler.grid = 'time'
  config.sampler.sigma_max = 0.0  # of the last time
  config.sampler.rho = 0.0
  config.evaluation.training_samples = 0  # so many network evaluations a sample are dear on a CPU
  return config
