"""GAN with 4 linear layers in each player and 100 latent dimensions (Goodfellow et al. 2014).

Adam without momentum: with it the players overshoot, and classes go missing
(experiments/results/README.md).
"""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('gan', dataset)
  config.objective.latent = 100  # numbers that a sample is made of
  config.objective.critic_steps = 1  # updates of the critic for one of the generator
  config.objective.generator_loss = 'non_saturating'  # or minimax
  config.network.name = 'mlp'  # or convolutional, dcgan
  config.network.hidden = (1024, 512, 256)  # the critic's widths; the generator's in reverse
  config.optimizer = common.optimizer('adam', 5e-4, b1=0.0, b2=0.99)
  config.critic_optimizer = common.critic_optimizer(config)
  config.steps_per_call = 10
  if dataset == 'digits':
    config.network.hidden = (256, 256, 256)
  return config
