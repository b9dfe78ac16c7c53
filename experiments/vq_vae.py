"""VQ-VAE with a PixelCNN of its codes (van den Oord et al. 2017)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('vq_vae', dataset)
  config.objective.codes = 128  # of the codebook
  config.objective.latent = 16  # dimension of a code
  config.objective.commitment = 0.25  # weight of an encoding's distance from its code
  config.objective.decay = 0.99  # of the averages of encodings that codes follow
  config.objective.likelihood = 'bernoulli'  # or gaussian, discretized_gaussian
  config.objective.log_variance = 0.0  # of a Gaussian likelihood
  config.objective.learn_variance = False  # whether that variance is a parameter
  config.network.name = 'convolutional'  # which has grids of codes
  config.network.hidden = (32, 64)  # every layer halves height and width
  config.network.blocks = 2  # residual ones after that
  config.prior = ml_collections.ConfigDict()
  config.prior.name = 'pixelcnn'  # of the codes; a network that sees none of what comes after
  config.prior.width = 64  # channels of each stack
  config.prior.depth = 4  # gated layers
  config.prior.reach = 2  # of the first layer, in codes; each further one adds one
  config.num_steps = 10_000
  config.steps_per_call = 5
  config.cpu_devices = 0
  config.evaluation.every = 5000  # a sample takes as many passes of the prior as it has codes
  if dataset == 'digits':
    config.objective.codes = 32
    config.objective.latent = 8
    config.network.hidden = (16, 32)
    config.prior.width = 16
    config.prior.depth = 2
    config.num_steps = 5000
  return config
