"""DDPM with a U-Net (Ho et al. 2020)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('ddpm', dataset)
  config.objective.timesteps = 1000  # of the noise
  config.objective.schedule = 'linear'  # or cosine
  config.objective.weighting = 'simple'  # or variational
  # Or large, or learned between them, or analytic, by the network's errors (Bao et al. 2022).
  config.objective.variance = 'small'
  config.sampler = ml_collections.ConfigDict()
  # or ddim; and, on a grid, dormand_prince, dpm_solver_2m, dpm_solver_2s, dpm_solver_3s,
  # euler_maruyama, heun, langevin, predictor_corrector, probability_flow, unipc
  config.sampler.name = 'ancestral'
  config.sampler.steps = 1000  # of a sample
  config.sampler.eta = 0.0  # of ddim: 0 deterministic, 1 ancestral
  config.sampler.grid = ''  # karras, log_snr or time; '' for the diffusion's own steps
  config.sampler.sigma_min = 0.0  # of the grid; 0 for the noise of the first step
  config.sampler.sigma_max = 0.0  # 0 for that of the last one
  config.sampler.rho = 0.0  # of karras; the paper takes 7
  config.sampler.order = 0  # of probability_flow: 1 Euler, 2 Heun
  config.sampler.inner = 0  # of langevin: its steps at each level
  config.sampler.rate = 0.0  # of langevin: their size over the variance of the noise
  config.sampler.snr = 0.0  # of predictor_corrector
  config.sampler.tolerance = 0.0  # of dormand_prince, which takes steps as it needs them, as 1e-5
  config.sampler.churn = 0.0  # of heun, with the three below: the noise that it adds
  config.sampler.churn_min = 0.0  # least sigma
  config.sampler.churn_max = 0.0  # largest sigma, 0 for any
  config.sampler.churn_noise = 0.0  # scale of that noise, 0 for 1
  config.sampler.clip = True  # the predicted image, in sampling and in the reported bound
  config.evaluation.bound_samples = 8  # times at which held-out images are looked at
  # Sized for a CPU: a GPU has room for channels=128, multipliers=(1,2,2), blocks=2, patch=1.
  config.network.name = 'unet'
  config.network.channels = 32  # at full size
  config.network.multipliers = (1, 2)  # of the channels at each level; each halves the size
  config.network.blocks = 1  # residual ones at each level
  config.network.attention = (1,)  # levels with self-attention
  config.network.conditioning = 'scale_and_shift'  # or addition: how blocks are told the time
  config.network.clock = 'sines'  # or fourier, random features (Song et al. 2021, VE)
  config.network.patch = 2  # pixels that the network takes as one, each way
  config.network.dropout = 0.0  # share of the features that a residual block forgets in training
  config.network.remat = False  # whether blocks are computed twice, where memory is short
  config.optimizer = common.optimizer(
    'adam', 1e-3, schedule='cosine', warmup_steps=200, clip_norm=1.0
  )
  config.num_steps = 8000
  config.ema_decay = 0.995
  config.steps_per_call = 5
  config.cpu_devices = 0
  config.evaluation.batch_size = 50  # so that two devices are not given more than a sheet of 100
  config.evaluation.every = 4000
  # A thousand network evaluations a sample are dear on a CPU: score with ddim, or on a GPU.
  config.evaluation.training_samples = 0
  config.checkpoint.best = 'validation/bits_per_dimension'
  if dataset == 'digits':
    config.network.patch = 1
    config.sampler.steps = 250
    config.num_steps = 2000
    config.ema_decay = 0.99
    config.evaluation.every = 0
  return config
