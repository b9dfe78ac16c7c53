"""A mixture of Gaussians of the codes of a trained VAE (Ghosh et al. 2020), in two commands:

python -m jaxgen.main --config=experiments/vae.py:mnist --workdir=runs/codes \
  --config.objective.likelihood=gaussian --config.objective.learn_variance=True
python -m jaxgen.main --config=experiments/mixture_of_codes.py:mnist \
  --config.objective.autoencoder=runs/codes
"""

import ml_collections

from experiments import gaussian_mixture, vae


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = gaussian_mixture.get_config(dataset)
  config.objective.name = 'two_stage'
  config.objective.second = 'gaussian_mixture'  # whose fields the others are
  # Folder of the run that trained the first stage, on the same data: a VAE, or what else encodes
  # and decodes. Read when training begins, and not needed after.
  config.objective.autoencoder = ''
  config.autoencoder = vae.get_config(dataset)  # replaced by the config of that run
  config.objective.components = 10
  config.objective.covariance = 'full'
  config.objective.floor = 1e-3  # of codes whose variances are 1 on average
  return config
