"""Hierarchical VAE, top-down, of three layers (Sønderby et al. 2016; Vahdat & Kautz 2020)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('hierarchical', dataset)
  config.objective.layers = 3  # of codes
  config.objective.latent = 16  # dimensions of each layer
  config.objective.width = 256  # of the image's features and of the layers' networks
  config.objective.likelihood = 'bernoulli'  # or gaussian, discretized_gaussian
  config.objective.log_variance = 0.0  # of a Gaussian likelihood
  config.objective.learn_variance = False  # whether that variance is a parameter
  config.objective.beta = 1.0  # weight of the KL divergence
  config.objective.free_bits = 0.0  # nats of each latent dimension's KL that cost nothing
  # Updates over which beta rises from 0; without, the lower layers collapse.
  config.objective.warm_up_steps = 5000
  config.evaluation.importance_samples = 10  # K of the importance-weighted bound
  config.network.name = 'mlp'  # or convolutional, with hidden=(32,64)
  config.network.hidden = (400,)  # the encoder's widths; the decoder's in reverse
  config.steps_per_call = 20
  if dataset == 'digits':
    config.objective.latent = 4
    config.objective.width = 64
  return config
