"""TarFlow: a normalising flow of causal transformers on patches (Zhai et al. 2024).

The noise between the levels is uniform, for bits per dimension; for samples the authors train with
Gaussian noise and denoise them, and by AdamW with b2 = 0.95.
"""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('tarflow', dataset)
  config.objective.levels = 256  # of grey, to which pixels are rounded; 2 with data.binarize
  config.objective.blocks = 4  # each in the other order of patches
  config.objective.patch = 4  # side of the squares of pixels that are moved together
  config.evaluation.draws = 4  # of the noise between the levels
  config.network.name = 'transformer'  # of each block
  config.network.width = 96  # of every patch; the authors take 128
  config.network.depth = 2  # layers of a block; the authors take 4
  config.network.heads = 4  # of attention
  config.network.remat = False  # whether blocks are computed twice, where memory is short
  config.optimizer = common.optimizer(
    'adam', 2e-3, schedule='cosine', warmup_steps=200, clip_norm=1.0
  )
  config.num_steps = 4000
  config.ema_decay = 0.995
  config.steps_per_call = 5
  config.evaluation.every = 0
  config.evaluation.training_samples = 0  # a network evaluation for each patch of each block
  # or -validation/dequantised_log_probability, higher is better, with data.binarize
  config.checkpoint.best = 'validation/dequantised_bits_per_dimension'
  if dataset == 'digits':
    config.objective.levels = 17  # that the digits have
    config.objective.patch = 2
    config.network.width = 64
    config.num_steps = 1500
    config.ema_decay = 0.99
  return config
