"""Variational autoencoder (Kingma & Welling 2013) and its importance-weighted kin (Burda 2016).

Symbols: x image, z latent code, q(z|x) = N(mean, diag exp(log_variance)) the encoder,
p(x|z) the decoder's likelihood, p(z) = N(0, I). Logarithms are natural, bounds are in nats.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_activation, find_network
from jaxgen.objectives import base, figures, optimizers
from jaxgen.objectives.base import (
  Example,
  Image,
  Key,
  Keys,
  Label,
  Memory,
  Metrics,
  Objective,
  Params,
)
from jaxgen.objectives.variational import bounds, diagnosis, estimators
from jaxgen.objectives.variational.likelihoods import (
  Likelihood,
  find_likelihood,
  observation_model,
)


def vae(
  encoder: nn.Module,
  decoder: nn.Module,
  optimizer: optax.GradientTransformation,
  likelihood: Likelihood,
  image_shape: tuple[int, int, int],
  latent: int,
  beta: float = 1.0,
  samples: int = 1,
  bound: str = 'elbo',
  gradient: str = 'naive',
  free_bits: float = 0.0,
  warm_up_steps: int = 0,
  importance_samples: int = 10,
  log_variance: float = 0.0,
  learn_variance: bool = False,
) -> Objective:
  """Amortised inference with a Gaussian encoder.

  Args:
    encoder: image -> (2 latent,), mean and log variance of q(z|x).
    decoder: (latent,) -> (H, W, C), the likelihood's parameters.
    optimizer: of encoder and decoder together.
    likelihood: p(x|z).
    image_shape: (H, W, C).
    latent: dimension of z.
    beta: weight of the KL term; 1 is the bound on log p(x), others are Higgins et al. 2017.
    samples: K of the training bound.
    bound: that is trained, see `estimators`.
    gradient: how the encoder's is estimated.
    free_bits: nats of each dimension's KL, averaged over the batch, that are not worth saving.
    warm_up_steps: updates over which beta rises linearly from 0.
    importance_samples: K of the importance-weighted bound in `evaluate`, and in its name.
    log_variance: of a Gaussian likelihood, see `observation_model`.
    learn_variance: whether it is learned.

  Raises:
    ValueError: hyperparameters that do not go together.
  """
  estimate = estimators.estimator(bound, gradient, samples, free_bits)
  beta_at = estimators.warm_up(beta, warm_up_steps)
  observed = observation_model(decoder, likelihood, latent, log_variance, learn_variance)

  def init(key: Key) -> tuple[Params, Memory]:
    encoder_key, decoder_key = jax.random.split(key)
    params = {'encoder': encoder.init(encoder_key, jnp.zeros(image_shape))}
    params |= observed.init(decoder_key)
    return params, optimizer.init(params)

  def posterior(params: Params, image: Image) -> tuple[jax.Array, jax.Array]:
    mean, log_variance = jnp.split(encoder.apply(params['encoder'], image), 2)
    return mean, log_variance

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    weight = beta_at(step)

    def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
      log_p = partial(observed.log_probability, params, example.image)
      value, found = estimate(log_p, *posterior(params, example.image), key, weight)
      return -value, bounds.parts(found, likelihood)

    return base.descend(loss, optimizer, params, memory, examples, keys)

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    log_p = partial(observed.log_probability, params, example.image)
    found = bounds.terms(log_p, *posterior(params, example.image), key, importance_samples)
    return bounds.held_out(found, likelihood, math.prod(image_shape))

  def diagnose(params: Params, examples: Example, key: Key) -> Metrics:
    each = jax.vmap(posterior, in_axes=(None, 0))(params, examples.image)
    return diagnosis.diagnose(*each, key)

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    """The mean of q(z|x)."""
    del key
    return posterior(params, image)[0]

  def decode(params: Params, z: jax.Array, key: Key) -> Image:
    """The mean of p(x|z)."""
    del key
    return observed.mean(params, z)

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return observed.mean(params, jax.random.normal(key, (latent,)))

  shown = {'reconstructions': figures.reconstructions(encode, decode)}
  shown |= {'manifold': figures.manifold(decode)} if latent == 2 else {}
  return Objective(
    init,
    update,
    evaluate,
    sample,
    encode,
    decode,
    figures=shown,
    diagnose=diagnose,
    networks={'encoder': encoder, 'decoder': decoder},
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The VAE that a config describes."""
  hyperparameters = base.arguments(config.objective)
  latent, likelihood = hyperparameters['latent'], hyperparameters.pop('likelihood')
  name, shape = config.network.name, base.arguments(config.network)
  if 'activation' in shape:
    shape['activation'] = find_activation(shape['activation'])
  return vae(
    find_network(name, 'Encoder')(2 * latent, **shape),
    find_network(name, 'Decoder')(facts.image_shape, **shape),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    find_likelihood(likelihood, config.data.binarize),
    facts.image_shape,
    **hyperparameters,
    importance_samples=config.evaluation.importance_samples,
  )
