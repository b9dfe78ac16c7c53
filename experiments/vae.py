"""VAE with a Bernoulli likelihood, 784-400-20 (Kingma & Welling 2013; they have 500 in between)."""

import ml_collections

from experiments import common


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = common.base('vae', dataset)
  config.objective.latent = 20  # numbers in a code
  config.objective.likelihood = 'bernoulli'  # or gaussian, discretized_gaussian
  config.objective.log_variance = 0.0  # of a Gaussian likelihood; log 0.5 is squared error
  config.objective.learn_variance = False  # whether that variance is a parameter
  config.objective.beta = 1.0  # weight of the KL divergence
  config.objective.posterior = 'diagonal'  # or planar, inverse_autoregressive, real_nvp
  config.objective.flows = 0  # steps of those
  config.objective.samples = 1  # K of the training bound
  config.objective.bound = 'elbo'  # or importance_weighted
  config.objective.gradient = 'naive'  # or sticking_the_landing, doubly_reparameterised
  config.objective.free_bits = 0.0  # nats of each latent dimension's KL that cost nothing
  config.objective.warm_up_steps = 0  # updates over which beta rises from 0
  config.evaluation.importance_samples = 10  # K of the importance-weighted bound
  config.network.name = 'mlp'  # or convolutional, with hidden=(32,64)
  config.network.hidden = (400,)  # the encoder's widths; the decoder's in reverse
  config.steps_per_call = 20
  if dataset == 'digits':
    config.objective.latent = 8
  return config
