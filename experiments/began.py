"""BEGAN: the critic is an autoencoder, in balance with the generator (Berthelot et al. 2017).

Unlike in the paper, the generator normalises over the batch and learns three times as fast as the
critic, whose code is tiny, and the balance is fast: otherwise all samples become one image, which
the autoencoder copies.
"""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('began', dataset)
  config.objective.latent = 32  # numbers that a sample is made of
  config.objective.code = 2  # of the critic's autoencoder
  config.objective.critic_steps = 1  # updates of the critic for one of the generator
  config.objective.gamma = 1.0  # aimed-at ratio of the errors: lower is sharper and less diverse
  config.objective.k_rate = 1.0  # of the balance
  config.network.name = 'dcgan'  # the generator's, with batch norm; or mlp, convolutional
  config.network.hidden = (64, 128)  # every layer doubles height and width, from the last
  config.critic_network = ml_collections.ConfigDict()
  config.critic_network.name = 'mlp'  # or convolutional, with hidden=(32,64)
  config.critic_network.dtype = 'float32'  # of its computation, as network.dtype
  config.critic_network.hidden = (512, 256)  # an encoder's widths; a decoder's in reverse
  config.optimizer = common.optimizer('adam', 1e-3, b1=0.0)
  config.critic_optimizer = common.optimizer('adam', 3e-4, b1=0.0)
  config.steps_per_call = 10
  if dataset == 'digits':
    config.objective.latent = 16
    config.critic_network.hidden = (256, 256)
    config.num_steps = 6000
  return config
