"""K of the importance-weighted autoencoder against held-out nats.

Burda et al. (2016, table 1) find on binarised MNIST, with one stochastic layer and 5,000 samples,
86.76 nats with K = 1, 85.54 with 5 and 84.78 with 50, after 3,280 epochs. Digits: 12 runs of half a
minute. MNIST: 12 runs of 20,000 updates, two minutes to a quarter of an hour; their 3,280 epochs
would be ten million.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  importance_samples = 500 if dataset == 'digits' else 5000
  return common.study(
    'Samples of the importance-weighted bound',
    models={'iwae': common.model('iwae', dataset)},
    overrides={
      'num_steps': 4000 if dataset == 'digits' else 20_000,
      'evaluation': {'importance_samples': importance_samples},
    },
    axes={'samples': {'objective': {'samples': (1, 5, 20, 50)}}},
    numbers=(
      f'importance_weighted_{importance_samples}_dynamic_bernoulli_nats',
      *('elbo_dynamic_bernoulli_nats', 'active_units', 'fid_classifier'),
    ),
    x='samples',
    log=('samples',),
  )
