"""What a diffusion network predicts, how errors are weighed, and which noise it sees most.

One network, budget and sampler, so that only the training differs: DDPM's prediction of the noise
under uniform times (Ho et al. 2020), of v (Salimans & Ho 2022), EDM's preconditioning around two
noise levels (Karras et al. 2022) and straight paths with logit-normal times (Esser et al. 2024).
Digits: 15 runs of a minute and a half. MNIST: 15 runs of eight minutes, an hour on two CPU cores.
"""

import ml_collections

from experiments.studies import common

# All are sampled by DPM-Solver++(2M) in 20 steps.
KARRAS = {'name': 'dpm_solver_2m', 'steps': 20, 'grid': 'karras', 'rho': 7.0}
VP = {'path': 'vp', 'density': 'uniform', 'sigma_data': 1.0, 'mean': 0.0, 'unit_input': False}
STRAIGHT = VP | {'path': 'straight', 'prediction': 'velocity', 'weighting': 'output'}


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  objectives = {
    'noise': VP | {'prediction': 'noise', 'weighting': 'noise'},
    'v': VP | {'prediction': 'v', 'weighting': 'v'},
    'preconditioned_low': {'P_mean': -1.2},  # of photographs
    'preconditioned': {'P_mean': 0.0},
    'velocity': STRAIGHT | {'density': 'log_normal', 'P_mean': 0.0, 'P_std': 1.0},
  }
  return common.study(
    'Prediction, weighting and density of the noise',
    models={
      name: common.model('edm', dataset, objective=objective, sampler=KARRAS)
      for name, objective in objectives.items()
    },
    overrides={'num_steps': 1000 if dataset == 'digits' else 1500},
    numbers=('fid_classifier', 'recall_classifier', 'coverage_classifier'),
    log=('fid_classifier',),
  )
