"""Mixture of Gaussians by expectation-maximisation, in batches (Cappé & Moulines 2009)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('gaussian_mixture', dataset)
  config.objective.components = 100  # Gaussians
  config.objective.covariance = 'diagonal'  # or full
  config.objective.floor = 0.01  # smallest variance along any axis, of pixels in [-1, 1]
  config.objective.forgetting = 0.6  # power by which the weight of a new batch falls; 0 for EM
  del config.network, config.optimizer
  config.batch_size = 1000
  config.num_steps = 300
  config.log_every = 10
  config.checkpoint.every = 100
  config.evaluation.every = 100
  if dataset == 'digits':
    config.objective.components = 20
    config.objective.covariance = 'full'
    config.objective.forgetting = 0.0
    config.batch_size = 1248  # nearly all training images in every update, so all but EM itself
    config.num_steps = 100
  return config
