"""Every experiment of the folder above at one budget of work, but for those that stand on a run.

MNIST, three seeds: as many updates as one core of a CPU (AMD EPYC with AVX-512, 2026-11-26, JAX
0.10.2) makes in MINUTES, compilation left out, so that a network that costs more is trained less;
which device makes them is of no matter then; with the samples, nearly four hours on two cores.
Digits, as a rehearsal: one seed, 300 updates and 200 samples each. The budget is too small for
most: the page is a map of what there is.
"""

from typing import Any

import ml_collections

from experiments.studies import common

MINUTES = 1
UPDATES_PER_SECOND = {
  'acgan': 21,
  'autoencoder': 440,
  'avb': 48,
  'began': 23,
  'biggan': 6.8,
  'cgan': 24,
  'cycle_gan': 9.5,
  'dcgan': 4.9,
  'ddpm': 6.3,
  'denoising_autoencoder': 370,
  'edm': 6.0,
  'energy': 17,
  'flow_matching': 6.3,
  'flow_posterior': 330,
  'gan': 53,
  'gaussian_mixture': 0.97,
  'guided': 6.2,
  'hierarchical_vae': 250,
  'hinge_gan': 25,
  'improved_ddpm': 5.9,
  'iwae': 440,
  'jem': 16,
  'lsgan': 25,
  'mean_flow': 4.6,
  'ncsn': 5.9,
  'non_amortized': 200,
  'nvae': 11.8,
  'pix2pix': 3.9,
  'pixelcnn': 1.3,
  'probabilistic_pca': 220,
  'progressive_gan': 2.9,
  'projection_gan': 25,
  'r3gan': 1.6,
  'score_sde': 6.0,
  'tarflow': 3.3,
  'transformer': 3.0,
  'vae': 400,
  'vdm': 4.2,
  'vq_vae': 11,
  'wgan': 52,
  'wgan_gp': 38,
}
WARM_UPS = 'pixelcnn', 'tarflow', 'transformer'


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  digits = dataset == 'digits'

  def steps(name: str) -> int:  # in hundreds, as they are logged
    wanted = 60 * MINUTES * UPDATES_PER_SECOND[name]
    return 300 if digits else max(100, round(wanted / 100) * 100)

  def model(name: str) -> dict[str, Any]:
    chosen = {'num_steps': steps(name)}
    if not digits and name in WARM_UPS:  # as long as all of so few updates
      chosen['optimizer'] = {'warmup_steps': steps(name) // 10}
    return common.model(name, dataset, **chosen)

  return common.study(
    'Atlas: every experiment at one budget of work',
    models={name: model(name) for name in UPDATES_PER_SECOND},
    overrides={'log_every': 100} | ({'evaluation': {'num_samples': 200}} if digits else {}),
    numbers=(
      *('fid_classifier', 'precision_classifier', 'recall_classifier', 'coverage_classifier'),
      *('class_kl_corrected_nats_classifier', 'bits_per_dimension'),
      *('elbo_bernoulli_surrogate_nats', 'elbo_dynamic_bernoulli_nats'),
      *('network_evaluations_per_sample', 'seconds_per_1000_samples'),
    ),
    x='model',
    seeds=(0,) if digits else (0, 1, 2),
    log=('fid_classifier',),
  )
