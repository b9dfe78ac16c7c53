"""WGAN with a gradient penalty instead of clipped weights (Gulrajani et al. 2017)."""

import ml_collections

from experiments import common, wgan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = wgan.get_config(dataset)
  config.objective.constraint = 'penalty'
  config.optimizer = common.optimizer('adam', 1e-4, b1=0.0, b2=0.9)
  config.critic_optimizer = common.critic_optimizer(config)
  return config
