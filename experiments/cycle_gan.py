"""CycleGAN: two U-Nets against two critics, without pairs (Zhu et al. 2017).

Without the paper's history of fifty fakes for the critics and its falling rate.
"""

import ml_collections

from experiments import pix2pix


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = pix2pix.get_config(dataset)
  config.data.pair = 'edges'  # or half, negative, rotated: the other set of pictures
  config.objective = ml_collections.ConfigDict()
  config.objective.name = 'cycle_gan'  # a module of jaxgen.objectives
  config.objective.cycle = 10.0  # lambda
  config.objective.identity = 0.0  # of a picture that is already there; 0.5 lambda keeps colours
  config.network.dropout = 0.0  # of features; the paper has no noise
  config.network.channels = 16  # of the first level
  config.batch_size = 16  # the paper's is 1
  config.critic_network.hidden = (32, 64)
  if dataset == 'digits':
    # Before a weak critic, maps leave what is inside a picture as it is and paint its edge alone:
    # that is the shortest way to come back. These critics are ahead from the first updates on.
    config.critic_network.hidden = (64, 128)
    config.critic_optimizer.learning_rate = 1e-3
  return config
