"""Learning rate and batch of EDM at one number of images, the ablation behind edm.py's settings.

Digits: 18 runs of a minute. MNIST: 18 runs of twenty minutes, three hours on two CPU cores.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  steps = 1000 if dataset == 'digits' else 4000
  return common.study(
    'Learning rate and batch of EDM',
    models={'edm': common.model('edm', dataset)},
    axes={
      'learning_rate': {'optimizer': {'learning_rate': (5e-4, 1e-3, 2e-3)}},
      'batch_size': {'batch_size': (32, 64), 'num_steps': (2 * steps, steps)},
    },
    numbers=('fid_classifier', 'recall_classifier', 'coverage_classifier'),
    x='learning_rate',
    log=('learning_rate', 'fid_classifier'),
  )
