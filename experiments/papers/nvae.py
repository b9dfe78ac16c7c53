"""NVAE on MNIST as in Vahdat & Kautz 2020 (app. A): 78.01 nats after 400 epochs on two GPUs.

Fifteen groups of 20 latents at each place, five at 4x4 and ten at 8x8, in networks of 31,710,713
parameters; the paper does not say how many. As there, images of 28x28 pixels have a black frame and
are binarised anew at every look, and the likelihood is of their own pixels alone. In what the cells
differ, `jaxgen/networks/nvae.py` says. The paper also balances the KL terms of groups while beta
rises, decays weights by 3e-4 and lets the rate fall to 1e-4, not 0. Its number is a bound of 1000
samples, as `--mode=evaluate --config.evaluation.importance_samples=1000` has it.
"""

import ml_collections

from experiments import nvae
from experiments.papers import common


def get_config(dataset: str = 'mnist') -> ml_collections.ConfigDict:
  config = common.on_a_gpu(nvae.get_config(dataset))
  config.data.flip = False
  config.data.binarize = 'dynamic'
  config.objective.groups = (5, 10)  # at 4x4 and 8x8
  config.objective.latent = 20
  config.objective.warm_up_steps = 18_000  # three tenths of all
  config.network.channels = 32
  config.network.stem = 2
  config.network.patch = 1
  config.network.blocks = 2
  config.network.expansion = 6
  # Five epochs of warming up.
  config.optimizer = common.optimizer('adamax', 1e-2, schedule='cosine', warmup_steps=750, eps=1e-3)
  config.batch_size = 400  # 200 for each GPU
  config.num_steps = 60_000
  config.ema_decay = 0.999
  return config
