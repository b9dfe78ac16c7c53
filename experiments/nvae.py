"""NVAE, small: convolutional groups of latents at two scales (Vahdat & Kautz 2020)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('nvae', dataset)
  config.objective.groups = (2, 3)  # of latents, at each scale from the coarsest
  config.objective.latent = 4  # latents of a group at each place
  config.objective.likelihood = 'bernoulli'  # or gaussian, discretized_gaussian
  config.objective.log_variance = 0.0  # of a Gaussian likelihood
  config.objective.learn_variance = False  # whether that variance is a parameter
  config.objective.beta = 1.0  # weight of the KL divergence
  config.objective.free_bits = 0.0  # nats of each latent's KL that cost nothing
  config.objective.warm_up_steps = 600  # updates over which beta rises from 0
  config.evaluation.importance_samples = 10  # K of the importance-weighted bound
  # Sized for a CPU: a GPU has room for channels=32, stem=2, patch=1, blocks=2, expansion=6.
  config.network.name = 'nvae'
  config.network.channels = 32  # at the first scale; each half has twice as many
  config.network.stem = 0  # how often images are halved before the finest scale of latents
  config.network.patch = 4  # pixels that the network takes as one, each way
  config.network.padding = 2 if 'mnist' in dataset else 0  # of black on each side: 28 to 32 pixels
  config.network.blocks = 1  # residual cells before each group
  config.network.expansion = 2  # channels within a cell that generates for each of its scale
  config.optimizer = common.optimizer('adam', 3e-3, schedule='cosine', warmup_steps=100)
  config.num_steps = 2000
  config.ema_decay = 0.995
  config.steps_per_call = 5
  config.cpu_devices = 0
  config.evaluation.batch_size = 50  # so that two devices are not given more than a sheet of 100
  config.evaluation.every = 1000
  config.checkpoint.best = '-validation/elbo'  # higher is better
  if dataset == 'digits':
    config.objective.groups = (1, 1)
    config.objective.latent = 1
    config.objective.warm_up_steps = 1200
    config.network.channels = 16
    config.network.patch = 2
    config.num_steps = 4000
    config.ema_decay = 0.99
    config.evaluation.every = 0
  return config
