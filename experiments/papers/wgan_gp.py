"""WGAN-GP with residual networks on CIFAR-10 as in Gulrajani et al. 2017 (app. C).

Four stages of 128 channels, a latent of 128 and five critic steps, as there. The networks are
R3GAN's residual ones, two blocks a stage: three convolutions a block, not two, no batch
normalisation in the generator, and the same halvings for both players.
"""

import ml_collections

from experiments import r3gan
from experiments.papers import common


def get_config(dataset: str = 'cifar10') -> ml_collections.ConfigDict:
  config = common.on_a_gpu(r3gan.get_config(dataset))
  config.data.flip = False
  config.objective.latent = 128
  config.objective.critic_steps = 5
  config.objective.loss = 'wasserstein'
  config.objective.constraint = 'gradient_penalty'
  config.objective.penalty = 10.0
  config.network.hidden = (128, 128, 128, 128)
  config.network.blocks = 2
  config.optimizer = common.optimizer('adam', 2e-4, schedule='linear', b1=0.0, b2=0.9)
  config.critic_optimizer = common.critic_optimizer(config)
  config.batch_size = 64 * config.objective.critic_steps
  config.num_steps = 100_000
  return config
