"""Denoising autoencoder, which gives images back from noisy ones (Vincent et al. 2008)."""

import ml_collections

from experiments import autoencoder


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = autoencoder.get_config(dataset)
  config.objective.noise = 0.5
  return config
