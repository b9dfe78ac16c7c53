"""R3GAN: relativistic losses under R1 and R2, residual networks (Huang et al. 2024)."""

import ml_collections

from experiments import hinge_gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = hinge_gan.get_config(dataset)
  config.objective.loss = 'relativistic'
  config.objective.constraint = 'r1_and_r2'
  config.network.name = 'r3gan'
  config.network.hidden = (32, 64, 128)  # channels of every stage; each but the first halves
  config.network.blocks = 1  # in every stage
  config.network.expansion = 1  # channels within a block for each of its stage; the paper has 2
  config.network.groups = 1  # of channels in the 3x3 convolutions; the paper's have 16 each
  config.optimizer.learning_rate = 2e-4
  config.cpu_devices = 0
  if dataset == 'digits':
    config.network.hidden = (32, 64)
    config.optimizer.learning_rate = 5e-4
  return config
