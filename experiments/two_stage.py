"""A second VAE of the codes of a trained VAE (Dai & Wipf 2019), in two commands:

python -m jaxgen.main --config=experiments/vae.py:mnist --workdir=runs/codes \
  --config.objective.likelihood=gaussian --config.objective.learn_variance=True
python -m jaxgen.main --config=experiments/two_stage.py:mnist \
  --config.objective.autoencoder=runs/codes
"""

import ml_collections

from experiments import vae


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = vae.get_config(dataset)
  config.objective.name = 'two_stage'
  config.objective.second = 'vae'  # the objective of the second stage, whose fields the others are
  # Folder of the run that trained the first, on the same data: a VAE, or what else encodes and
  # decodes. Read when training begins, and not needed after.
  config.objective.autoencoder = ''
  config.autoencoder = vae.get_config(dataset)  # replaced by the config of that run
  config.objective.likelihood = 'gaussian'  # of codes, which have no bounds
  config.objective.learn_variance = True
  config.objective.warm_up_steps = 5000  # without which codes of codes collapse
  config.network.hidden = (512, 512, 512)
  config.evaluation.every = 5000
  if dataset == 'digits':
    config.network.hidden = (256, 256)
    config.num_steps = 10_000
  return config
