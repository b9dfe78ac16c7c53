"""Diffusion of the codes of a trained autoencoder (Rombach et al. 2022), in two commands:

python -m jaxgen.main --config=experiments/autoencoder.py:mnist --workdir=runs/codes
python -m jaxgen.main --config=experiments/latent_diffusion.py:mnist \
  --config.objective.autoencoder=runs/codes
"""

import ml_collections

from experiments import autoencoder, edm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = edm.get_config(dataset)
  config.objective.name = 'latent_diffusion'
  # Folder of the run that trained it, on the same data: an autoencoder, a VAE, or what else encodes
  # and decodes. Read when training begins, and not needed after.
  config.objective.autoencoder = ''
  config.autoencoder = autoencoder.get_config(dataset)  # replaced by the config of that run
  del config.objective.sigma_data, config.objective.mean  # of codes: 1 and 0
  del config.evaluation.likelihood_steps
  config.network = ml_collections.ConfigDict()
  config.network.name = 'mlp'  # or unet, transformer, of codes (H, W, C)
  config.network.dtype = 'float32'  # of the computation; bfloat16 where the hardware is made for it
  config.network.hidden = (256, 256, 256)  # widths inside the blocks
  config.network.dropout = 0.0  # share of features left out in training
  config.num_steps = 10_000
  config.steps_per_call = 20
  config.cpu_devices = 1
  config.evaluation.every = 5000
  if dataset == 'digits':
    config.num_steps = 4000
    config.evaluation.every = 0
  return config
