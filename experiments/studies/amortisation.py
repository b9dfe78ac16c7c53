"""One encoder for all images against a posterior for each: bound, distance and cost.

The seeds' third document sets amortised beside non-amortised inference, in prose. Both models have
the same decoder, and look at as many images. Digits: 6 runs of half a minute. MNIST: 6 runs of
three to twenty minutes.
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
