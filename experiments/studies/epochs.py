"""Denoising after few and after many epochs: what longer training buys.

A student report of 2023 (An Zhang and Xinwei Zhang, fig. 6) shows a diffusion model's samples after
20 and after 200 epochs. Digits: 12 runs, of half a minute to six minutes. MNIST: 12 runs of 500 to
4,000 updates, half an epoch to nearly five, an hour on two CPU cores.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  steps = (400, 800, 1600, 4000) if dataset == 'digits' else (500, 1000, 2000, 4000)
  ddim = {'name': 'ddim', 'steps': 50}
  return common.study(
    'Diffusion after few and many epochs',
    models={'ddpm': common.model('ddpm', dataset, sampler=ddim)},
    axes={'num_steps': {'num_steps': steps}},
    numbers=('fid_classifier', 'bits_per_dimension', 'coverage_classifier'),
    x='num_steps',
    log=('num_steps', 'fid_classifier'),
  )
