"""Hinge losses (Lim & Ye 2017) on convolutions, the critic kept flat at real images (R1)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('adversarial', dataset)
  config.objective.latent = 64  # numbers that a sample is made of
  config.objective.critic_steps = 1  # updates of the critic for one of the generator
  config.objective.loss = 'hinge'  # or another of jaxgen.objectives.adversarial.losses
  config.objective.constraint = 'r1'  # or none, clip, spectral, another of constraints
  config.objective.penalty = 1.0  # lambda of a gradient or Lipschitz penalty, gamma of r1 and r2
  config.objective.clip = 0.01  # window of the critic's weights
  config.objective.conditional = 'none'  # or concatenation, projection, auxiliary
  config.objective.translation = 0  # pixels by which all that the critic sees is moved at most
  config.objective.augmentation = 1.0  # probability with which an image is
  config.objective.adaptive = False  # that probability follows the critic, from 0 to there at most
  config.sampler = ml_collections.ConfigDict()
  config.sampler.truncation = 0.0  # within which a sample's latents lie; 0: as in training
  config.network.name = 'convolutional'  # or mlp, dcgan, r3gan, progressive
  config.network.hidden = (32, 64)  # every layer halves height and width
  config.optimizer = common.optimizer('adam', 5e-4, b1=0.0, b2=0.99)
  config.critic_optimizer = common.critic_optimizer(config)
  config.steps_per_call = 5
  config.cpu_devices = 0
  if dataset == 'digits':
    config.objective.latent = 32
    config.objective.penalty = 0.1
    config.num_steps = 2000
    config.ema_decay = 0.99
    config.cpu_devices = 1
  return config
