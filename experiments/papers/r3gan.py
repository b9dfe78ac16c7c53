"""R3GAN on CIFAR-10 as in Huang et al. 2024: FID 1.96 with labels.

The paper's blocks widen 768 channels to twice as many, in groups of 16: 20.6 M weights in each
player's eight. Blocks here are dense and do not widen, and with 480 channels have 20.3 M. The
paper lets the rate fall to 5e-5 and the penalty to 0.005, and moves, mirrors and recolours what the
critic sees with a probability that rises to 0.55; here it only moves it.
"""

import ml_collections

from experiments import r3gan
from experiments.papers import common


def get_config(dataset: str = 'cifar10') -> ml_collections.ConfigDict:
  config = common.on_a_gpu(r3gan.get_config(dataset))
  config.objective.penalty = 0.05
  config.objective.translation = 4
  config.objective.augmentation = 0.55
  config.network.hidden = (480, 480, 480, 480)
  config.network.blocks = 2
  config.optimizer = common.optimizer('adam', 2e-4, b1=0.0, b2=0.99)
  config.critic_optimizer = common.critic_optimizer(config)
  config.batch_size = 512
  config.num_steps = 200_000
  config.ema_decay = 0.5 ** (config.batch_size / 5_000_000)  # half of it: the last 5 million images
  return config
