"""Adversarial variational Bayes: a VAE whose posterior has no density (Mescheder et al. 2017)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('adversarial_variational_bayes', dataset)
  config.objective.latent = 20  # numbers in a code
  config.objective.noise = 32  # numbers that a sample of the posterior is made of, beside the image
  config.objective.width = 256  # of an image's features, the posterior's and the discriminator's
  config.objective.likelihood = 'bernoulli'  # or gaussian, discretized_gaussian
  config.objective.log_variance = 0.0  # of a Gaussian likelihood
  config.objective.learn_variance = False  # whether that variance is a parameter
  # Whether the discriminator compares the posterior with a Gaussian of its moments, or the prior.
  config.objective.adaptive_contrast = True
  config.objective.contrast_samples = 64  # of a posterior, that those are taken of
  config.evaluation.importance_samples = 10  # K of the importance-weighted bound
  config.network.name = 'mlp'  # or convolutional, with hidden=(32,64)
  config.network.hidden = (400,)  # the encoder's widths; the decoder's in reverse
  config.optimizer = common.optimizer('adam', 5e-4)
  config.discriminator_optimizer = common.optimizer('adam', 1e-3)  # which has to keep up
  config.steps_per_call = 20
  if dataset == 'digits':
    config.objective.latent = 8
    config.objective.noise = 16
    config.objective.width = 128
  return config
