"""Critic steps of the GAN against class balance and distance.

A student report of 2023 (An Zhang and Xinwei Zhang, sec. 3) says that the classes of a GAN's
samples grow less even the more steps its discriminator takes; by eye, without a number. Every cell
makes as many updates of the generator, with 64 images a critic step. Digits: 12 runs of half a
minute to four. MNIST: 12 runs, of half an hour (one critic step) to three, twenty hours on two CPU
cores: share them with --part.
"""

import ml_collections

from experiments.studies import common

STEPS = (1, 2, 4, 8)


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  return common.study(
    'GAN: critic steps against class balance and distance',
    models={'gan': common.model('gan', dataset)},
    overrides={'num_steps': 2000 if dataset == 'digits' else 20_000},
    axes={
      'critic_steps': {
        'objective': {'critic_steps': STEPS},
        'batch_size': tuple(64 * steps for steps in STEPS),
      }
    },
    numbers=(
      *('class_kl_corrected_nats_classifier', 'missing_classes_classifier', 'fid_classifier'),
      *('raw/class_kl_corrected_nats_classifier', 'recall_classifier'),
    ),
    x='critic_steps',
    log=('critic_steps',),
  )
