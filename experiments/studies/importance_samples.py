"""K of the importance-weighted autoencoder, and how long it trains, against held-out nats.

Burda et al. (2016, table 1) find on binarised MNIST, with one stochastic layer and 5,000 samples,
86.76 nats with K = 1, 85.54 with 5 and 84.78 with 50, after 3,280 epochs, which would be ten
million updates. In every run the rate falls to nothing: each point on a curve is a finished run.
Digits: 18 runs of half a minute. MNIST: 27 runs of half a minute to fifteen, and ten for the
samples of each, eight hours.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  importance_samples = 500 if dataset == 'digits' else 5000
  updates = (1000, 4000) if dataset == 'digits' else (2000, 20_000, 60_000)
  return common.study(
    'Samples of the importance-weighted bound',
    models={'iwae': common.model('iwae', dataset)},
    overrides={'evaluation': {'importance_samples': importance_samples}},
    axes={
      'samples': {'objective': {'samples': (1, 5, 50)}},
      'updates': {'num_steps': updates},
    },
    numbers=(
      f'importance_weighted_{importance_samples}_dynamic_bernoulli_nats',
      *('elbo_dynamic_bernoulli_nats', 'active_units', 'fid_classifier'),
    ),
    x='updates',
    log=('updates',),
  )
