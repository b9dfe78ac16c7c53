"""DCGAN as in Radford et al. 2016 (sec. 4), on CIFAR-10.

Kernels are 4x4, as in most codes, where the paper's are 5x5. The generator of the paper's figure 1,
for images of 64x64, is that of `--config.network.hidden="(128,256,512,1024)"`; images of CIFAR-10
need a level less. The generator has 3.5 M parameters here,
and the critic 2.6 M.
"""

import ml_collections

from experiments import dcgan
from experiments.papers import common


def get_config(dataset: str = 'cifar10') -> ml_collections.ConfigDict:
  config = common.on_a_gpu(dcgan.get_config(dataset))
  config.data.flip = False
  config.network.hidden = (128, 256, 512)
  config.batch_size = 128
  config.num_steps = 40_000  # a hundred epochs; the paper names no number
  return config
