"""Conditional GAN: the label goes into both players (Mirza & Osindero 2014).

The paper's players are fully connected and its critic is free; these convolve, and the critic is
kept flat at real images (R1).
"""

import ml_collections

from experiments import hinge_gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = hinge_gan.get_config(dataset)
  config.objective.conditional = 'concatenation'
  config.objective.loss = 'non_saturating'
  if dataset == 'digits':
    config.num_steps = 4000
  return config
