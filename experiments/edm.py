"""Elucidated diffusion model with DDPM's network (Karras et al. 2022)."""

import ml_collections

from experiments import ddpm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = ddpm.get_config(dataset)
  config.objective = ml_collections.ConfigDict()
  config.objective.name = 'edm'
  config.objective.sigma_data = 0.617  # deviation of MNIST's pixels in [-1, 1]
  config.objective.mean = -0.738  # and their mean
  config.objective.P_mean = 0.0  # of ln sigma; the paper's -1.2 is for photographs
  config.objective.P_std = 1.2
  config.objective.stratified = True  # noise levels spread evenly over a batch
  config.sampler = ml_collections.ConfigDict()
  # or ancestral, ddim, dpm_solver_2s, euler_maruyama, heun, langevin
  config.sampler.name = 'dpm_solver_2m'
  config.sampler.steps = 20  # with as many network evaluations, of 2M
  config.sampler.grid = 'karras'  # or log_snr, time
  config.sampler.sigma_min = 0.01
  config.sampler.sigma_max = 80.0
  config.sampler.rho = 7.0  # of karras
  config.sampler.eta = 0.0  # of ddim: 0 deterministic, 1 ancestral
  config.sampler.churn = 0.0  # of heun, with the three below: the noise that it adds
  config.sampler.churn_min = 0.0  # least sigma
  config.sampler.churn_max = 0.0  # largest sigma, 0 for any
  config.sampler.churn_noise = 0.0  # scale of that noise, 0 for 1
  config.sampler.clip = False  # the predicted image
  del config.evaluation.bound_samples
  config.evaluation.times = 8  # at which held-out images are looked at
  config.evaluation.training_samples = 1000
  config.checkpoint.best = 'validation/weighted_squared_error'
  config.num_steps = 4000  # twenty minutes on two cores
  config.ema_decay = 0.999
  if dataset == 'digits':
    config.objective.sigma_data = 0.75
    config.objective.mean = -0.39
    config.num_steps = 2000
    config.ema_decay = 0.99
  return config
