"""The generator's loss of the GAN: minimax against non-saturating (Goodfellow et al. 2014, sec. 3).

With log(1 - D(G(z))) the generator's gradient vanishes where the discriminator wins, which it does
early; -log D(G(z)) has the same fixed point and no such plateau. Digits: 6 runs of half a minute.
MNIST: 6 runs of two minutes.
"""

import ml_collections

from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  return common.study(
    'GAN: minimax against non-saturating loss of the generator',
    models={'gan': common.model('gan', dataset)},
    overrides={'num_steps': 2000 if dataset == 'digits' else 5000},
    axes={'loss': {'objective': {'generator_loss': ('minimax', 'non_saturating')}}},
    numbers=(
      *('fid_classifier', 'class_kl_corrected_nats_classifier', 'missing_classes_classifier'),
      *('recall_classifier', 'value_above_equilibrium_nats'),
    ),
    x='loss',
    log=('fid_classifier',),
  )
