"""Losses of a GAN against constraints on its critic: class balance and distance.

Mescheder et al. (2018) show on the Dirac-GAN that a gradient penalty at real images, and not the
loss, makes a game converge; the claims `dirac_gan` of experiments/theory measure that. Here are
real players. A loss that has no best critic without a constraint is refused, and its cell says so.
Digits: 75 runs of twenty seconds. MNIST: 75 runs of 4 minutes, two hours and a half.
"""

import ml_collections

from experiments.studies import common

LOSSES = ('non_saturating', 'least_squares', 'hinge', 'relativistic', 'wasserstein')
CONSTRAINTS = ('none', 'spectral', 'gradient_penalty', 'r1', 'r1_and_r2')


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  return common.study(
    'Losses of a GAN against constraints on its critic',
    models={'gan': common.model('hinge_gan', dataset)},
    overrides={'num_steps': 2000 if dataset == 'digits' else 6000},
    axes={
      'loss': {'objective': {'loss': LOSSES}},
      'constraint': {'objective': {'constraint': CONSTRAINTS}},
    },
    numbers=(
      *('class_kl_corrected_nats_classifier', 'missing_classes_classifier', 'fid_classifier'),
      'coverage_classifier',
    ),
    x='constraint',
    log=('fid_classifier',),
  )
