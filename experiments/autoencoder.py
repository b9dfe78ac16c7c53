"""Autoencoder with a Gaussian of its codes to sample from (Ghosh et al. 2020)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('autoencoder', dataset)
  config.objective.latent = 20  # numbers in a code
  config.objective.noise = 0.0  # deviation of noise on the encoder's images, of pixels in [-1, 1]
  config.objective.mask = 0.0  # probability that one of their numbers is black
  config.network.name = 'mlp'  # or convolutional, with hidden=(32,64)
  config.network.hidden = (400,)  # the encoder's widths; the decoder's in reverse
  config.steps_per_call = 20
  if dataset == 'digits':
    config.objective.latent = 8
  return config
