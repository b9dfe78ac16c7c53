"""Importance-weighted autoencoder, 784-200-200-50, tanh (Burda et al. 2016, one stochastic layer).

Their 3,280 epochs lower the rate in eight stages; here it is one.
"""

import ml_collections

from experiments import common, vae


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = vae.get_config(dataset)
  config.objective.bound = 'importance_weighted'
  config.objective.gradient = 'doubly_reparameterised'  # naive in the paper
  config.objective.samples = 5
  config.objective.latent = 50
  config.network.hidden = (200, 200)
  config.network.activation = 'tanh'  # or relu, ...
  config.data.binarize = 'dynamic'
  config.optimizer = common.optimizer('adam', 1e-3)
  config.optimizer.eps = 1e-4  # added to the root of the mean squared gradient
  config.batch_size = 20
  if dataset == 'digits':
    config.objective.latent = 8
    config.network.hidden = (100, 100)
  return config
