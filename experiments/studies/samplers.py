"""Network evaluations against distance for the samplers of one trained model (EDM's denoiser).

One training run for each seed; samplers and steps need no training of their own. Karras et al. 2022
(fig. 2) find that a second-order sampler on their grid needs fewest evaluations of the network;
here all samplers share that grid, and what a step costs is along the plot.
Beside the grid stand a thousand ancestral steps, with which few good ones are to be compared.
Digits: one seed, a run of two minutes and 33 sets of 250 samples of ten seconds to a minute.
MNIST: 3 runs of twenty minutes, and 99 sets of half a minute to twenty, two hours on two CPU cores.
"""

import ml_collections

from experiments.studies import common

SAMPLERS = (
  *('dpm_solver_2m', 'dpm_solver_2s', 'heun', 'ddim', 'ancestral', 'euler_maruyama'),
  *('unipc', 'langevin'),
)
# Of Langevin dynamics alone, five steps at each level.
OTHERS = len(SAMPLERS) - 1
INNER, RATE = (*OTHERS * (0,), 5), (*OTHERS * (0.0,), 0.1)


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  return common.study(
    'Samplers of one denoiser: network evaluations against distance',
    models={'edm': common.model('edm', dataset)},
    overrides={
      'num_steps': 1000 if dataset == 'digits' else 4000,
      # Held-out means, anew with every sampler, are not asked for.
      'evaluation': {'times': 1} | ({'num_samples': 250} if dataset == 'digits' else {}),
    },
    axes={
      'sampler': {'sampler': {'name': SAMPLERS, 'inner': INNER, 'rate': RATE}},
      'steps': {'sampler': {'steps': (5, 10, 20, 40)}},
    },
    besides={
      'a_thousand_steps': {'sampler': {'name': 'ancestral', 'steps': 1000, 'inner': 0, 'rate': 0.0}}
    },
    numbers=('fid_classifier', 'coverage_classifier', 'network_evaluations_per_sample'),
    x='network_evaluations_per_sample',
    seeds=(0,) if dataset == 'digits' else (0, 1, 2),
    log=('network_evaluations_per_sample', 'fid_classifier'),
  )
