"""The plain GAN's fully connected players with and without a penalty on the critic's slope.

The GAN of Goodfellow et al. (2014) does not settle: on the Dirac-GAN its players circle, and R1
makes them converge (Mescheder et al. 2018, thm. 4.1; the claims `dirac_gan` of experiments/theory).
Here are the networks of `gan.py`, with the rates and latents of `hinge_gan.py`. Digits: 6 runs of
half a minute. MNIST: 6 runs of three minutes.
"""

import ml_collections

from experiments import gan
from experiments.studies import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  network = {'name': 'mlp', 'hidden': gan.get_config(dataset).network.hidden}
  return common.study(
    'A plain GAN with and without a penalty on its critic',
    models={
      'gan': common.model(
        'hinge_gan', dataset, network=network, objective={'loss': 'non_saturating'}
      )
    },
    overrides={'num_steps': 2000 if dataset == 'digits' else 6000},
    axes={'constraint': {'objective': {'constraint': ('none', 'r1')}}},
    numbers=(
      *('fid_classifier', 'recall_classifier', 'class_kl_corrected_nats_classifier'),
      'missing_classes_classifier',
    ),
    x='constraint',
  )
