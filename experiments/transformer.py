"""EDM with a transformer on patches in place of the U-Net (Peebles & Xie 2023)."""

import ml_collections

from experiments import edm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = edm.get_config(dataset)
  config.network = ml_collections.ConfigDict()
  config.network.name = 'transformer'  # or unet, with its own fields as in ddpm.py
  config.network.dtype = 'float32'  # of the computation; bfloat16 where the hardware is made for it
  config.network.width = 128  # numbers in a token
  config.network.depth = 6  # blocks
  config.network.heads = 4  # of attention
  config.network.patch = 4  # 49 tokens of MNIST
  config.network.dropout = 0.0  # share of the features that a block forgets in training
  config.network.remat = False  # whether blocks are computed twice, where memory is short
  config.optimizer.learning_rate = 5e-4
  if dataset == 'digits':
    config.cpu_devices = 1
    config.network.width = 96
    config.network.depth = 4
    config.network.patch = 2
    config.optimizer.learning_rate = 2e-3
    config.batch_size = 32
    config.num_steps = 10_000
  return config
