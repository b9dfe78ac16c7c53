"""GAN with 4 linear layers in each player and 100 latent dimensions (Goodfellow et al. 2014)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('gan', dataset)
  config.objective.latent = 100
  config.objective.critic_steps = 1
  config.objective.generator_loss = 'non_saturating'  # or minimax
  config.network.name = 'mlp'
  config.network.hidden = (1024, 512, 256)
  config.optimizer = common.optimizer('adam', 2e-4, b1=0.5)
  config.critic_optimizer = common.critic_optimizer(config)
  config.steps_per_call = 10
  if dataset == 'digits':
    config.network.hidden = (256, 256, 256)
  return config
