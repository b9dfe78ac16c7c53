"""Gated PixelCNN (van den Oord et al. 2016)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('pixelcnn', dataset)
  config.objective.levels = 256  # of grey, to which pixels are rounded; 2 with data.binarize
  config.objective.conditional = False  # whether the network is told the label
  config.network.name = 'pixelcnn'  # the one that sees none of what comes after
  config.network.width = 24  # channels of each stack; a GPU has room for 128
  config.network.depth = 8  # gated layers; 15
  config.network.reach = 3  # of the first layer, in pixels; each further one adds one
  config.optimizer = common.optimizer('adam', 2e-3, schedule='cosine', warmup_steps=100)
  config.num_steps = 2000
  config.ema_decay = 0.995
  config.steps_per_call = 5
  config.evaluation.every = 0
  config.evaluation.training_samples = 0  # each takes as many steps as pixels
  # or -validation/log_probability, higher is better, with data.binarize
  config.checkpoint.best = 'validation/bits_per_dimension'
  if dataset == 'digits':
    config.objective.levels = 17  # that the digits have
    config.network.width = 32
    config.network.depth = 5  # from any pixel to any before it
    config.num_steps = 1500
    config.ema_decay = 0.99
  return config
