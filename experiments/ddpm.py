"""DDPM with a U-Net (Ho et al. 2020)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('ddpm', dataset)
  config.objective.timesteps = 1000
  config.objective.schedule = 'linear'  # or cosine
  config.objective.weighting = 'simple'  # or variational
  config.objective.variance = 'small'  # or large
  config.sampler = ml_collections.ConfigDict()
  config.sampler.name = 'ancestral'  # or ddim
  config.sampler.steps = 1000
  config.sampler.eta = 0.0  # of ddim: 0 deterministic, 1 ancestral in law
  config.sampler.clip = True  # the predicted image, in sampling and in the reported bound
  config.evaluation.bound_samples = 8  # times at which held-out images are looked at
  # Sized for a CPU: a GPU has room for channels=128, multipliers=(1,2,2), blocks=2, patch=1.
  config.network.name = 'unet'
  config.network.channels = 32
  config.network.multipliers = (1, 2)
  config.network.blocks = 1
  config.network.attention = (1,)  # levels with self-attention
  config.network.patch = 2  # pixels that the network takes as one, each way
  config.optimizer = common.optimizer(
    'adam', 1e-3, schedule='cosine', warmup_steps=200, clip_norm=1.0
  )
  config.num_steps = 8000
  config.ema_decay = 0.995
  config.steps_per_call = 5
  config.cpu_devices = 0
  config.evaluation.batch_size = 50  # so that two devices are not given more than a sheet of 100
  config.evaluation.every = 4000
  # A thousand network evaluations a sample are dear on a CPU: score with ddim, or on a GPU.
  config.evaluation.training_samples = 0
  config.checkpoint.best = 'validation/bits_per_dimension'
  if dataset == 'digits':
    config.network.patch = 1
    config.sampler.steps = 250
    config.num_steps = 2000
    config.ema_decay = 0.99
    config.evaluation.every = 0
  return config
