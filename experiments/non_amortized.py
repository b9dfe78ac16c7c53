"""A decoder with a posterior of its own for every image, no encoder (Hoffman et al. 2013)."""

import ml_collections

from experiments import common, vae


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = vae.get_config(dataset)
  config.objective.name = 'non_amortized'
  amortized = ('beta', 'samples', 'bound', 'gradient', 'free_bits', 'warm_up_steps')
  for field in (*amortized, 'posterior', 'flows'):
    del config.objective[field]
  config.objective.inference_steps = 5  # of a posterior, each time that its image is seen
  config.posterior_optimizer = common.optimizer('adam', 0.1)
  config.evaluation.inference_steps = 100  # of the posterior of an image that was never seen
  config.evaluation.batch_size = 500
  return config
