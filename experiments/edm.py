"""Elucidated diffusion model with DDPM's network (Karras et al. 2022)."""

import ml_collections

from experiments import ddpm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = ddpm.get_config(dataset)
  config.objective = ml_collections.ConfigDict()
  config.objective.name = 'diffusion'  # a module of jaxgen.objectives
  config.objective.path = 'edm'  # or vp, subvp, ve, straight
  config.objective.prediction = 'preconditioned'  # or noise, image, v, score, velocity
  config.objective.weighting = 'output'  # or noise, image, v, truncated_snr, min_snr, likelihood
  config.objective.density = 'log_normal'  # or uniform, cosine, levels: of noise in training
  config.objective.P_mean = 0.0  # of ln sigma; the paper's -1.2 is for photographs
  config.objective.P_std = 1.2  # and its deviation
  config.objective.levels = 0  # how many, with the density of that name
  config.objective.stratified = True  # noise levels spread evenly over a batch
  config.objective.coupling = 'independent'  # or optimal: which noise goes with which image
  config.objective.sigma_data = 0.617  # deviation of MNIST's pixels in [-1, 1]
  config.objective.mean = -0.738  # and their mean
  config.objective.unit_input = True  # of the network, or x_t as it is
  config.objective.conditional = False  # whether the network is told the label
  config.objective.label_dropout = 0.0  # how often it is not, for guidance
  config.sampler.name = 'dpm_solver_2m'  # or another one, each with its fields as in ddpm.py
  config.sampler.steps = 20  # with as many network evaluations, of 2M
  config.sampler.grid = 'karras'  # or log_snr, time
  config.sampler.sigma_min = 0.01
  config.sampler.sigma_max = 80.0
  config.sampler.rho = 7.0  # of karras
  config.sampler.clip = False  # the predicted image
  config.sampler.guidance = 1.0  # towards the label; 1 for none
  config.sampler.guidance_min = 0.0  # the noise between which it guides
  config.sampler.guidance_max = 0.0  # 0 for any
  del config.evaluation.bound_samples
  config.evaluation.times = 8  # at which held-out images are looked at
  config.evaluation.likelihood_steps = 0  # of the flow that bounds bits per dimension; 0: not
  config.evaluation.training_samples = 1000
  config.checkpoint.best = 'validation/'  # the one number of held-out images
  config.num_steps = 4000  # of MNIST, twenty minutes on two cores
  config.ema_decay = 0.999
  if dataset == 'digits':
    config.objective.sigma_data = 0.75
    config.objective.mean = -0.39
    config.num_steps = 2000
    config.ema_decay = 0.99
  return config
