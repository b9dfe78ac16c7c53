"""Critic steps of the GAN against class balance and distance.

A student report of 2023 (An Zhang and Xinwei Zhang, sec. 3) says that the classes of a GAN's
samples grow less even the more steps its discriminator takes; by eye, without a number or an
optimizer. Here are Adam without momentum as in gan.py (rate 5e-4, b1 = 0, b2 = 0.99), and as DCGAN
had it (2e-4, 0.5, 0.999). Every cell makes as many updates of the generator, with 64 images a
critic step. Digits: 18 runs of half a minute to two. MNIST: 18 runs of two to eight minutes.
"""

import ml_collections

from experiments.studies import common

STEPS = (1, 2, 5)


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  momentum = {'learning_rate': 2e-4, 'b1': 0.5, 'b2': 0.999}
  return common.study(
    'GAN: critic steps against class balance and distance',
    models={
      'without_momentum': common.model('gan', dataset),
      'with_momentum': common.model('gan', dataset, optimizer=momentum),
    },
    overrides={'num_steps': 2000 if dataset == 'digits' else 5000},
    axes={
      'critic_steps': {
        'objective': {'critic_steps': STEPS},
        'batch_size': tuple(64 * steps for steps in STEPS),
      }
    },
    numbers=(
      *('class_kl_corrected_nats_classifier', 'missing_classes_classifier', 'fid_classifier'),
      *('precision_classifier', 'recall_classifier'),
    ),
    x='critic_steps',
    log=('critic_steps', 'fid_classifier'),
  )
