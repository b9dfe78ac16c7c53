"""VAE whose posterior is bent by inverse autoregressive steps (Kingma et al. 2016)."""

import ml_collections

from experiments import vae


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = vae.get_config(dataset)
  config.objective.posterior = 'inverse_autoregressive'  # or planar, real_nvp
  config.objective.flows = 2
  return config
