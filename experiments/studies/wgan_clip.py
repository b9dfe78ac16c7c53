"""Critic steps and clip window of the WGAN against distance and class balance.

A student report of 2023 (An Zhang and Xinwei Zhang, sec. 4.2) says that more critic steps help,
that a large window converges slowly and that a small one lets gradients vanish. Every cell makes as
many updates of the generator. Digits: 36 runs of ten seconds to a minute. MNIST: 36 runs of one to
three minutes.
"""

import ml_collections

from experiments.studies import common

STEPS = (1, 5, 10)


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  return common.study(
    'WGAN: critic steps and clip window against distance and class balance',
    models={'wgan': common.model('wgan', dataset)},
    overrides={'num_steps': 2000 if dataset == 'digits' else 3000},
    axes={
      'clip': {'objective': {'clip': (0.001, 0.01, 0.1, 1.0)}},
      'critic_steps': {
        'objective': {'critic_steps': STEPS},
        'batch_size': tuple(64 * steps for steps in STEPS),
      },
    },
    # The critic's own distance is left out: under two windows it has two units.
    numbers=('fid_classifier', 'class_kl_corrected_nats_classifier', 'missing_classes_classifier'),
    x='clip',
    log=('clip', 'fid_classifier'),
  )
