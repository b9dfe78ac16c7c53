"""What the papers' settings share: made for a GPU, and scored as papers score."""

import ml_collections

from experiments.common import critic_optimizer, optimizer

__all__ = ['critic_optimizer', 'on_a_gpu', 'optimizer', 'wide']


def on_a_gpu(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """An experiment's config with what all of these change; images are flipped in training."""
  config.data.flip = True
  config.steps_per_call = 5
  config.log_every = 500
  config.checkpoint.every = 10_000
  config.evaluation.every = 50_000
  config.evaluation.batch_size = 250
  config.evaluation.num_samples = 50_000
  return config


def wide(config: ml_collections.ConfigDict, dropout: float) -> None:
  """Gives a diffusion model the U-Net whose widths are those of DDPM++ (Song et al. 2021)."""
  config.network.channels = 128
  config.network.multipliers = (2, 2, 2)
  config.network.blocks = 4
  config.network.attention = (1,)  # at 16x16
  config.network.head_width = 256  # one head
  config.network.patch = 1
  config.network.dropout = dropout
