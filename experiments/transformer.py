"""EDM with a transformer on patches in place of the U-Net (Peebles & Xie 2023)."""

import ml_collections

from experiments import edm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = edm.get_config(dataset)
  config.network = ml_collections.ConfigDict()
  config.network.name = 'transformer'
  config.network.dtype = 'float32'
  config.network.width = 128
  config.network.depth = 6
  config.network.heads = 4
  config.network.patch = 4  # 49 tokens of MNIST
  config.network.dropout = 0.0
  config.optimizer.learning_rate = 5e-4
  config.cpu_devices = 1
  if dataset == 'digits':
    config.network.patch = 1
    config.network.depth = 4
  return config
