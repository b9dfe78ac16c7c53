"""pix2pix: a U-Net against a critic of patches, on pairs made of the data (Isola et al. 2017)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('pix2pix', dataset)
  # What the images of the data are to be made from: edges, half, negative or rotated.
  config.data.pair = 'edges'
  config.objective.l1 = 100.0  # lambda
  config.network.name = 'unet'  # or transformer, with its fields
  config.network.channels = 32  # of the first level
  config.network.multipliers = (1, 2)  # of the channels, level by level
  config.network.blocks = 1  # residual ones a level
  config.network.attention = ()  # levels with self-attention
  config.network.patch = 2  # pixels that the network takes as one, each way
  config.network.conditioning = 'scale_and_shift'  # or addition: how blocks are told the time, 0
  config.network.clock = 'sines'  # or fourier
  config.network.remat = False  # whether blocks are computed twice, where memory is short
  config.network.dropout = 0.1  # of features, in samples too: all the noise that there is
  config.critic_network = ml_collections.ConfigDict()
  config.critic_network.hidden = (64, 128)  # every layer halves height and width
  config.optimizer = common.optimizer('adam', 2e-4, b1=0.5)
  config.critic_optimizer = common.critic_optimizer(config)
  config.num_steps = 4000
  config.steps_per_call = 5
  config.cpu_devices = 0
  config.checkpoint.best = 'validation/l1'
  if dataset == 'digits':
    config.network.channels = 16
    config.network.patch = 1
    config.critic_network.hidden = (64,)
    config.num_steps = 2000
    config.ema_decay = 0.99
    config.cpu_devices = 1
  return config
