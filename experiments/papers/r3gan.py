"""R3GAN on CIFAR-10 as in Huang et al. 2024: FID 1.96 with labels.

The networks are the paper's without labels: a generator of 20,732,160 parameters and a critic of
20,683,776. Over its first 20 million images, 39,063 updates, the paper lets the rate fall to 5e-5
and the penalty to 0.005 and raises b2 from 0.9 to 0.99, the half-life of the average from nothing
and the share of augmented images to 0.55. Here rate and penalty are those of its beginning, the
others those of its end; and where the paper moves, mirrors and recolours what the critic sees, here
it is only moved.
"""

import ml_collections

from experiments import r3gan
from experiments.papers import common


def get_config(dataset: str = 'cifar10') -> ml_collections.ConfigDict:
  config = common.on_a_gpu(r3gan.get_config(dataset))
  config.objective.penalty = 0.05
  config.objective.translation = 4
  config.objective.augmentation = 0.55
  config.network.hidden = (768, 768, 768, 768)
  config.network.expansion = 2
  config.network.groups = 96  # of 16 channels
  config.network.blocks = 2
  config.optimizer = common.optimizer('adam', 2e-4, b1=0.0, b2=0.99)
  config.critic_optimizer = common.critic_optimizer(config)
  config.batch_size = 512
  config.num_steps = 200_000
  config.ema_decay = 0.5 ** (config.batch_size / 5_000_000)  # half of it: the last 5 million images
  return config
