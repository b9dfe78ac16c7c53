"""The posterior of a VAE against held-out nats: diagonal, or bent by planar, RealNVP or
inverse autoregressive steps.

Rezende & Mohamed (2015, fig. 4) find 2 nats for 40 planar steps on binarised MNIST, and Kingma et
al. (2016, table 1) 4 for 8 autoregressive ones. Digits: 12 runs of half a minute. MNIST: 12 runs of
five minutes, half an hour on two CPU cores.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  samples = 500 if dataset == 'digits' else 5000
  return common.study(
    'Posteriors of a VAE against held-out nats',
    models={'vae': common.model('flow_posterior', dataset)},
    overrides={
      'num_steps': 4000 if dataset == 'digits' else 60_000,
      'data': {'binarize': 'dynamic'},
      'evaluation': {'importance_samples': samples},
    },
    axes={
      'posterior': {
        'objective': {
          'posterior': ('diagonal', 'planar', 'real_nvp', 'inverse_autoregressive'),
          'flows': (0, 8, 2, 2),
        }
      }
    },
    numbers=(
      f'importance_weighted_{samples}_dynamic_bernoulli_nats',
      *('elbo_dynamic_bernoulli_nats', 'kl_nats', 'active_units'),
    ),
    x='posterior',
  )
