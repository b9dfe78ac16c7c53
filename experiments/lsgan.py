"""Least squares instead of logarithms (Mao et al. 2017), the critic flat at real images (R1)."""

import ml_collections

from experiments import hinge_gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = hinge_gan.get_config(dataset)
  config.objective.loss = 'least_squares'
  return config
