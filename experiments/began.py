"""BEGAN: the critic is an autoencoder, in balance with the generator (Berthelot et al. 2017).

It collapses to few classes with these networks (experiments/results/README.md).
"""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('began', dataset)
  config.objective.latent = 32  # numbers that a sample is made of
  config.objective.code = 32  # of the critic's autoencoder
  config.objective.critic_steps = 1  # updates of the critic for one of the generator
  config.objective.gamma = 0.7  # aimed-at ratio of the errors: lower is sharper and less diverse
  config.objective.k_rate = 1e-3  # of the balance
  config.network.name = 'mlp'  # or convolutional, with hidden=(32,64)
  config.network.hidden = (512, 256)  # an encoder's widths; a decoder's in reverse
  config.optimizer = common.optimizer('adam', 1e-4, b1=0.5)
  config.critic_optimizer = common.critic_optimizer(config)
  config.steps_per_call = 10
  if dataset == 'digits':
    config.objective.latent = config.objective.code = 16
    config.network.hidden = (256, 256)
  return config
