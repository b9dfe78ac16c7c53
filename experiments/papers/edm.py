"""EDM on CIFAR-10 as in Karras et al. 2022 (tables 1 and 7): FID 1.97 after 200 million images.

The paper's network, DDPM++, has 55.7 M parameters; this one of the same widths, whose levels are
halved and doubled by one matrix a pixel in place of residual blocks, has 56.1 M. Images are
flipped, and not augmented otherwise as the paper's are, and the average has its half-life from the
beginning.
"""

import ml_collections

from experiments import edm
from experiments.papers import common


def get_config(dataset: str = 'cifar10') -> ml_collections.ConfigDict:
  config = common.on_a_gpu(edm.get_config(dataset))
  config.objective.P_mean = -1.2
  config.objective.P_std = 1.2
  config.objective.sigma_data = 0.5
  config.objective.mean = 0.0
  config.objective.stratified = False
  common.wide(config, dropout=0.13)
  config.sampler.name = 'heun'
  config.sampler.steps = 18  # of two network evaluations each, but the last
  config.sampler.sigma_min = 0.002
  config.batch_size = 512
  config.num_steps = 390_625
  config.ema_decay = 0.5 ** (
    config.batch_size / 500_000
  )  # half of it is of the last 500,000 images
  # The rate rises over ten million images.
  config.optimizer = common.optimizer('adam', 1e-3, warmup_steps=10_000_000 // config.batch_size)
  return config
