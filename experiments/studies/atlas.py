"""Every experiment of the folder above at one budget of updates, three seeds each.

But for latent_diffusion.py, which begins with another run.

The budget is too small for most of them: the page is a map of what there is, at equal numbers of
updates, with the time and the work that each took. Digits: 300 updates, three runs of ten seconds
to five minutes an experiment. MNIST: 1,000 updates, runs of a minute to an hour, for DDPM's own
sampler, a day on two CPU cores.
"""

from pathlib import Path

import ml_collections

from experiments.studies import common

FOLDER = Path(__file__).parents[1]
OTHERS = 'common', 'latent_diffusion'
EXPERIMENTS = sorted(path.stem for path in FOLDER.glob('*.py') if path.stem not in OTHERS)


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  return common.study(
    'Atlas: every experiment at one budget of updates',
    models={name: common.model(name, dataset) for name in EXPERIMENTS},
    overrides={'num_steps': 300 if dataset == 'digits' else 1000, 'log_every': 100},
    numbers=('fid_classifier', 'coverage_classifier', 'class_kl_corrected_nats_classifier'),
    x='training_seconds',
    log=('training_seconds', 'fid_classifier'),
  )
