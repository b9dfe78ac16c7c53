"""A conditional GAN whose critic also classifies, for both players (Odena et al. 2017)."""

import ml_collections

from experiments import hinge_gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = hinge_gan.get_config(dataset)
  config.objective.conditional = 'auxiliary'
  config.objective.loss = 'non_saturating'
  return config
