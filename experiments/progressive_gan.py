"""Progressive growing: a GAN of small images first, then of images twice as large (Karras et al.
2018). The digits by three commands, of which each begins with the networks of the one before:

python -m jaxgen.main --config=experiments/progressive_gan.py --workdir=runs/grown-8
python -m jaxgen.main --config=experiments/progressive_gan.py --workdir=runs/grown-16 \
  --init_from=runs/grown-8 --config.data.image_size=16
python -m jaxgen.main --config=experiments/progressive_gan.py --workdir=runs/grown-32 \
  --init_from=runs/grown-16 --config.data.image_size=32

MNIST by `progressive_gan.py:mnist` with image sizes 7, 14 and 28; without one, all of it at once.
The paper's loss is WGAN-GP's, `objective.loss=wasserstein` with `constraint=gradient_penalty`.
"""

import ml_collections

from experiments import hinge_gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = hinge_gan.get_config(dataset)
  config.init_from = ''  # images may be smaller there: its networks grow
  config.objective.loss = 'non_saturating'
  config.network.name = 'progressive'
  # Channels at the coarsest resolution, at twice it and so on; the last at all that are finer.
  config.network.hidden = (64, 64, 32, 16)
  if dataset == 'digits':
    config.network.hidden = (64, 32, 16, 8)
  return config
