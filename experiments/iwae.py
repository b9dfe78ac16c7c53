"""Importance-weighted autoencoder, 784-200-200-50 (Burda et al. 2016, one stochastic layer).

Their 3,280 epochs lower the rate in eight stages; here it falls by a cosine. They have tanh, which
learns more slowly here (experiments/results/README.md).
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
  config.network.activation = 'relu'  # or tanh, ...
  config.data.binarize = 'dynamic'
  config.optimizer = common.optimizer('adam', 1e-3, schedule='cosine')
  config.optimizer.eps = 1e-4  # added to the root of the mean squared gradient
  config.batch_size = 20
  if dataset == 'digits':
    config.objective.latent = 8
    config.network.hidden = (100, 100)
  return config
