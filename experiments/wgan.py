"""WGAN with 3 linear layers in each player and clipped weights (Arjovsky et al. 2017)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('wgan', dataset)
  config.objective.latent = 100  # numbers that a sample is made of
  config.objective.critic_steps = 5  # updates of the critic for one of the generator
  config.objective.constraint = 'clip'  # or penalty
  config.objective.clip = 0.01  # window of the critic's weights
  config.objective.penalty = 10.0  # weight of the gradient penalty
  config.batch_size = (
    64 * config.objective.critic_steps
  )  # a step takes images for every critic step
  config.network.name = 'mlp'  # or convolutional
  config.network.hidden = (512, 256)  # the critic's widths; the generator's in reverse
  config.optimizer = common.optimizer('rmsprop', 5e-5, b1=0.0, b2=0.99)
  config.critic_optimizer = common.critic_optimizer(config)
  config.steps_per_call = 10
  return config
