"""Decay of the moving average of the parameters against distance, beside the raw parameters.

The average smooths the noise of the last updates and lags behind them; how long it may be
depends on how long the run is. Digits: 12 runs of a minute and a half. MNIST: 12 runs of 2,000
updates, an hour on two CPU cores.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  ddim = {'name': 'ddim', 'steps': 50}
  return common.study(
    'Decay of the moving average against distance',
    models={'ddpm': common.model('ddpm', dataset, sampler=ddim)},
    overrides={'num_steps': 1000 if dataset == 'digits' else 2000},
    axes={'decay': {'ema_decay': (0.0, 0.9, 0.99, 0.999)}},
    numbers=('fid_classifier', 'raw/fid_classifier', 'bits_per_dimension'),
    x='decay',
    log=('fid_classifier', 'raw/fid_classifier'),
  )
