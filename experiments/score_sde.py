"""Score-based model through a stochastic differential equation (Song et al. 2021)."""

import ml_collections

from experiments import edm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = edm.get_config(dataset)
  config.objective = ml_collections.ConfigDict()
  config.objective.name = 'score_sde'
  config.objective.sde = 'vp'  # or subvp, ve
  config.sampler.name = 'euler_maruyama'  # or ancestral, ddim, dpm_solver_2m, dpm_solver_2s, ...
  config.sampler.steps = 250
  config.sampler.grid = 'time'  # or log_snr, karras
  config.sampler.sigma_max = 0.0  # the equation's own
  config.sampler.rho = 0.0  # of karras, where the paper takes 7
  config.sampler.clip = True  # the predicted image
  config.evaluation.training_samples = 0  # so many network evaluations a sample are dear on a CPU
  config.checkpoint.best = 'validation/noise_squared_error'
  return config
