"""BigGAN's parts on a small scale: projection, hinge losses, spectral normalisation, attention and
truncated samples (Brock et al. 2019).
"""

import ml_collections

from experiments import hinge_gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = hinge_gan.get_config(dataset)
  config.objective.conditional = 'projection'
  config.objective.constraint = 'spectral'
  config.objective.critic_steps = 2
  config.sampler.truncation = 1.0
  config.network.attention = (0,)  # hidden layers behind which all places see each other
  config.batch_size = 128  # 64 for each step of the critic
  if dataset == 'digits':
    config.num_steps = 4000
  return config
