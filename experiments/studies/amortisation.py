"""One encoder for all images against a posterior for each: bound, distance and cost.

An encoder answers at once and misses the best posterior by a gap (Cremer et al. 2018); a posterior
of its own takes steps for each image. Both models have the same decoder, and look at as many
images. Digits: 6 runs of half a minute. MNIST: 6 runs of one to two minutes.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  return common.study(
    'An encoder for all images, or a posterior for each',
    models={name: common.model(name, dataset) for name in ('vae', 'non_amortized')},
    overrides={'num_steps': 4000 if dataset == 'digits' else 20_000},
    numbers=(
      *('elbo_bernoulli_surrogate_nats', 'reconstruction_bernoulli_surrogate_nats', 'kl_nats'),
      'fid_classifier',
    ),
  )
