"""VAE, GAN, WGAN and DDPM under one protocol and at about equal training time.

A report of 2024 (De Silva, sec. 7) gives Fréchet distances on MNIST of 16.3 for its VAE, 12.4 for
its WGAN and 9.3 for its DDPM, of one run each, without budgets; one of 2023 (An Zhang and Xinwei
Zhang) ranks a diffusion model, a GAN and a WGAN by eye. Here every family trains for about as long
on one CPU core: the numbers of updates come from their measured speeds, and the table says how
long each run took. Digits: 12 runs of a minute. MNIST: 12 runs of three minutes, with the samples.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  steps = {'vae': 40_000, 'gan': 5000, 'wgan': 5000, 'ddpm': 800}
  if dataset == 'digits':
    steps = {'vae': 20_000, 'gan': 3000, 'wgan': 3000, 'ddpm': 1000}
  ddim = {'name': 'ddim', 'steps': 50}
  return common.study(
    'VAE, GAN, WGAN and DDPM at equal training time',
    models={
      'vae': common.model('vae', dataset, num_steps=steps['vae']),
      'gan': common.model('gan', dataset, num_steps=steps['gan']),
      'wgan': common.model('wgan', dataset, num_steps=steps['wgan']),
      'ddpm': common.model('ddpm', dataset, num_steps=steps['ddpm'], sampler=ddim),
    },
    numbers=(
      *('fid_classifier', 'train/fid_classifier', 'kid_classifier', 'precision_classifier'),
      *('recall_classifier', 'class_kl_corrected_nats_classifier', 'seconds_per_1000_samples'),
    ),
    log=('fid_classifier', 'train/fid_classifier'),
  )
