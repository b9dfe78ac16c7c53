"""VAE, WGAN and DDPM under one protocol and at about equal training time.

A report of 2024 (De Silva, sec. 7) gives Fréchet distances on MNIST of 16.3 for its VAE, 12.4 for
its WGAN and 9.3 for its DDPM, of one run each, without budgets. Here every family trains for about
as long on two CPU cores: the numbers of steps come from the speeds that tests/benchmarks found,
and the table says how long each run took. Digits: 9 runs of a minute. MNIST: 9 runs of 17 minutes,
and the DDPM's samples, three hours.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  steps = {'vae': 200_000, 'wgan': 22_000, 'ddpm': 4000}
  if dataset == 'digits':
    steps = {'vae': 20_000, 'wgan': 3000, 'ddpm': 1000}
  ddim = {'name': 'ddim', 'steps': 50}
  return common.study(
    'VAE, WGAN and DDPM at equal training time',
    models={
      'vae': common.model('vae', dataset, num_steps=steps['vae']),
      'wgan': common.model('wgan', dataset, num_steps=steps['wgan']),
      'ddpm': common.model('ddpm', dataset, num_steps=steps['ddpm'], sampler=ddim),
    },
    numbers=(
      *('fid_classifier', 'train/fid_classifier', 'kid_classifier', 'precision_classifier'),
      *('recall_classifier', 'class_kl_corrected_nats_classifier', 'seconds_per_1000_samples'),
    ),
    log=('fid_classifier', 'train/fid_classifier'),
  )
