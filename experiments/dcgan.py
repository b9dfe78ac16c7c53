"""DCGAN: convolutions with batch normalisation in both players (Radford et al. 2016)."""

import ml_collections

from experiments import common, gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = gan.get_config(dataset)
  config.network.name = 'dcgan'
  config.network.hidden = (64, 128)  # every layer halves height and width
  config.optimizer = common.optimizer('adam', 2e-4, b1=0.5)
  config.critic_optimizer = common.critic_optimizer(config)
  config.batch_size = 128
  config.num_steps = 5000
  config.steps_per_call = 5
  config.cpu_devices = 0
  if dataset == 'digits':
    config.network.hidden = (32, 64)
  return config
