"""A conditional GAN whose critic projects its features onto the label (Miyato & Koyama 2018)."""

import ml_collections

from experiments import hinge_gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = hinge_gan.get_config(dataset)
  config.objective.conditional = 'projection'
  return config
