"""Energy-based model by persistent chains from a replay buffer (Du & Mordatch 2019)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('energy', dataset)
  config.objective.buffer = 2000  # chains that go on, each about every 16 updates
  config.objective.restart = 0.05  # share of the chains drawn that begin anew
  config.objective.steps = 20  # of a chain, each time that it is drawn
  config.objective.step_size = 5e-3  # of those steps
  config.objective.temperature = 1.0  # of both step and noise; 1: energies are in nats
  config.objective.clip = 0.0  # of the derivatives in a step; 0: none
  config.objective.noise = 0.15  # added to images in training
  config.objective.reference = 1.0  # deviation of a Gaussian that multiplies the density; 0: none
  config.objective.penalty = 1e-3  # of the energies' squares
  config.sampler = ml_collections.ConfigDict()
  config.sampler.steps = 500  # of a sample, from uniform noise on
  config.sampler.step_size = 5e-3  # of those steps
  config.sampler.temperature = 1.0  # as of the objective
  config.sampler.clip = 0.0  # as of the objective
  config.sampler.denoise = True  # a last step to the mean of the image under its noise
  config.network.name = 'mlp'  # or convolutional, with hidden=(32,64)
  config.network.hidden = (512, 512)  # widths of its layers
  config.optimizer = common.optimizer('adam', 1e-3, b1=0.5, schedule='cosine', clip_norm=10.0)
  config.batch_size = 128
  config.num_steps = 4000
  config.steps_per_call = 5
  config.ema_decay = 0.99
  config.evaluation.training_samples = 0  # so many network evaluations a sample are dear on a CPU
  config.checkpoint.best = ''
  if dataset == 'digits':
    config.num_steps = 3000  # three minutes on one core
  return config
