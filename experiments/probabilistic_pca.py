"""Probabilistic PCA by expectation-maximisation, in batches (Tipping & Bishop 1999)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('probabilistic_pca', dataset)
  config.objective.latent = 50  # components
  config.objective.floor = 1e-3  # smallest variance of the noise, of pixels in [-1, 1]
  config.objective.forgetting = 0.6  # power by which the weight of a new batch falls; 0 for EM
  del config.network, config.optimizer
  config.batch_size = 1000
  config.num_steps = 300
  config.log_every = 10
  config.checkpoint.every = 100
  config.evaluation.every = 100
  if dataset == 'digits':
    config.objective.latent = 20
    config.objective.forgetting = 0.0
    config.batch_size = 1248  # nearly all training images in every update, so all but EM itself
    config.num_steps = 100
  return config
