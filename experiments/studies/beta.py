"""Beta of the VAE against its held-out bound and the distance of its samples.

A weight below 1 buys sharper reconstructions with a prior that its codes leave, one above 1 the
other way round; the bound is best near 1, where it is what was trained. Digits: 15 runs of 20
seconds. MNIST: 15 runs of a minute and a half.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  return common.study(
    'Beta of the VAE against held-out bound and distance',
    models={'vae': common.model('vae', dataset)},
    overrides={'num_steps': 3000 if dataset == 'digits' else 20_000},
    axes={'beta': {'objective': {'beta': (0.1, 0.3, 1.0, 3.0, 10.0)}}},
    numbers=(
      *('elbo_bernoulli_surrogate_nats', 'kl_nats', 'active_units'),
      *('fid_classifier', 'coverage_classifier'),
    ),
    x='beta',
    log=('beta', 'fid_classifier'),
  )
