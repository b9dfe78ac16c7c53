"""Variational autoencoder (Kingma & Welling 2013; K samples and bound of Burda et al. 2016).

Symbols: x image, z latent code, q(z|x) = N(mean, diag exp(log_variance)) the encoder,
p(x|z) the decoder's likelihood, p(z) = N(0, I). Logarithms are natural, bounds are in nats.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

from jaxgen.networks import find_network
from jaxgen.objectives import optimizers
from jaxgen.objectives.base import (
  Image,
  Images,
  Key,
  Metrics,
  Objective,
  Params,
  arguments,
  descend,
)
from jaxgen.objectives.distributions import discretized_log_likelihood, gaussian_kl, log_normal


def reparameterize(mean: jax.Array, log_variance: jax.Array, noise: jax.Array) -> jax.Array:
  """z = mean + sigma * noise, a differentiable sample of q(z|x) (Kingma & Welling 2013, eq. 4)."""
  return mean + jnp.exp(0.5 * log_variance) * noise


class Likelihood(NamedTuple):
  """p(x|z) given the decoder's unbounded output and the log variance.

  Attributes:
    measure: what a bound on log p(x) is one of, as the names of metrics say it.
    log_probability: image, output, log variance -> nats, summed over pixels.
    mean: output -> image in [-1, 1].
    has_variance: whether the log variance enters.
    discrete: whether it is a probability of pixels on 256 levels, which has true bits.
  """

  measure: str
  log_probability: Callable[[Image, jax.Array, jax.Array], jax.Array]
  mean: Callable[[jax.Array], Image]
  has_variance: bool = True
  discrete: bool = False


def log_bernoulli(x: Image, logits: jax.Array, log_variance: jax.Array) -> jax.Array:
  """sum_i u_i log p_i + (1 - u_i) log(1 - p_i), with u = (x + 1) / 2 in [0, 1], p = sigmoid.

  A probability where pixels are 0 or 1; the usual cross-entropy surrogate where they are grey.
  """
  del log_variance
  return jnp.sum((x + 1.0) / 2.0 * logits - nn.softplus(logits))  # log(1 - p) = -softplus(logits)


def log_discretized_gaussian(x: Image, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
  """log of a Gaussian's mass on the pixels' own levels of 256 (Ho et al. 2020, eq. 13)."""
  return discretized_log_likelihood(x, mean, jnp.exp(0.5 * log_variance))


LIKELIHOODS = {
  'bernoulli': Likelihood(
    'bernoulli_surrogate', log_bernoulli, lambda logits: 2.0 * nn.sigmoid(logits) - 1.0, False
  ),
  # With variance 1/2 fixed, -log p is the squared error up to a constant.
  'gaussian': Likelihood('gaussian_density', log_normal, lambda output: output),
  'discretized_gaussian': Likelihood(
    'discretized_gaussian', log_discretized_gaussian, lambda output: output, discrete=True
  ),
}


def evidence_lower_bound(log_likelihoods: jax.Array, kl: jax.Array, beta: float = 1.0) -> jax.Array:
  """(1/K) sum_k log p(x|z_k) - beta KL(q(z|x) || p(z)), for (K,) samples, in nats (eq. 7)."""
  return log_likelihoods.mean() - beta * kl


def importance_weighted_bound(log_weights: jax.Array) -> jax.Array:
  """log (1/K) sum_k p(x, z_k) / q(z_k|x), in nats (Burda et al. 2016, eq. 8)."""
  return logsumexp(log_weights) - jnp.log(log_weights.shape[0])


def vae(
  encoder: nn.Module,
  decoder: nn.Module,
  optimizer: optax.GradientTransformation,
  likelihood: Likelihood,
  image_shape: tuple[int, int, int],
  latent: int,
  beta: float = 1.0,
  samples: int = 1,
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
    importance_samples: K of the importance-weighted bound in `evaluate`, and in its name.
    log_variance: of a Gaussian likelihood, shared by all pixels; where it starts if learned.
    learn_variance: whether it is learned (Rybkin et al. 2021).

  Raises:
    ValueError: a variance for a likelihood that has none.
  """
  if (learn_variance or log_variance) and not likelihood.has_variance:
    raise ValueError(
      f'objective.learn_variance={learn_variance} and objective.log_variance={log_variance} have '
      f'no effect on the likelihood {likelihood.measure}: choose a Gaussian one'
    )
  measure = likelihood.measure

  def init(key: Key) -> tuple[Params, Any]:
    encoder_key, decoder_key = jax.random.split(key)
    params = {
      'encoder': encoder.init(encoder_key, jnp.zeros(image_shape)),
      'decoder': decoder.init(decoder_key, jnp.zeros(latent)),
    }
    if learn_variance:
      params['log_variance'] = jnp.float32(log_variance)
    return params, optimizer.init(params)

  def encode(params: Params, image: Image) -> tuple[jax.Array, jax.Array]:
    mean, log_variance = jnp.split(encoder.apply(params['encoder'], image), 2)
    return mean, log_variance

  def log_p(params: Params, image: Image, z: jax.Array) -> jax.Array:
    variance = jnp.asarray(params.get('log_variance', log_variance))
    output = decoder.apply(params['decoder'], z)
    return likelihood.log_probability(image, output, jnp.broadcast_to(variance, output.shape))

  def decode(params: Params, z: jax.Array) -> Image:
    return likelihood.mean(decoder.apply(params['decoder'], z))

  def bounds(
    params: Params, image: Image, key: Key, count: int, beta: float
  ) -> tuple[jax.Array, jax.Array, Metrics]:
    """The evidence lower bound, the importance-weighted one, and the first one's terms."""
    mean, log_variance = encode(params, image)
    noise = jax.random.normal(key, (count, latent))
    z = jax.vmap(reparameterize, in_axes=(None, None, 0))(mean, log_variance, noise)
    log_likelihoods = jax.vmap(log_p, in_axes=(None, None, 0))(params, image, z)
    log_prior = jax.vmap(log_normal, in_axes=(0, None, None))(
      z, jnp.zeros(latent), jnp.zeros(latent)
    )
    log_q = jax.vmap(log_normal, in_axes=(0, None, None))(z, mean, log_variance)
    kl = gaussian_kl(mean, log_variance)
    terms = {f'reconstruction_{measure}_nats': -log_likelihoods.mean(), 'kl_nats': kl}
    elbo = evidence_lower_bound(log_likelihoods, kl, beta)
    return elbo, importance_weighted_bound(log_likelihoods + log_prior - log_q), terms

  def loss(params: Params, image: Image, key: Key) -> tuple[jax.Array, Metrics]:
    elbo, _, terms = bounds(params, image, key, samples, beta)
    return -elbo, terms

  def evaluate(params: Params, image: Image, key: Key) -> Metrics:
    """Both bounds; of pixels on 256 levels, the first one also in bits, as diffusion models do."""
    elbo, tighter, terms = bounds(params, image, key, importance_samples, 1.0)
    name = f'importance_weighted_{importance_samples}_{measure}_nats'
    found = {f'elbo_{measure}_nats': elbo, name: tighter} | terms
    bits = {'bits_per_dimension': -elbo / (math.prod(image_shape) * math.log(2.0))}
    return found | (bits if likelihood.discrete else {})

  def sample(params: Params, key: Key) -> Image:
    return decode(params, jax.random.normal(key, (latent,)))

  def reconstructions(params: Params, images: Images, key: Key) -> jax.Array:
    """Each row: an image, and the decoder's mean at the encoder's mean."""
    del key
    means, _ = jax.vmap(encode, in_axes=(None, 0))(params, images)
    return jnp.stack([images, jax.vmap(decode, in_axes=(None, 0))(params, means)], axis=1)

  def manifold(params: Params, images: Images, key: Key) -> jax.Array:
    """The decoder's mean over a grid of equally probable codes (Kingma & Welling 2013, fig. 4)."""
    del images, key
    quantiles = norm.ppf((jnp.arange(15) + 0.5) / 15)
    codes = jnp.stack(jnp.meshgrid(quantiles, quantiles), axis=-1)
    return jax.vmap(jax.vmap(partial(decode, params)))(codes)

  figures = {'reconstructions': reconstructions} | ({'manifold': manifold} if latent == 2 else {})
  return Objective(init, partial(descend, loss, optimizer), evaluate, sample, figures)


def build(config: ml_collections.ConfigDict, image_shape: tuple[int, int, int]) -> Objective:
  """The VAE that a config describes."""
  hyperparameters = arguments(config.objective)
  latent, likelihood = hyperparameters['latent'], hyperparameters.pop('likelihood')
  if likelihood not in LIKELIHOODS:
    raise ValueError(f'objective.likelihood={likelihood!r}; choose one of {", ".join(LIKELIHOODS)}')
  name, shape = config.network.name, arguments(config.network)
  return vae(
    find_network(name, 'Encoder')(2 * latent, **shape),
    find_network(name, 'Decoder')(image_shape, **shape),
    optimizers.build(**config.optimizer, num_steps=config.num_steps),
    LIKELIHOODS[likelihood],
    image_shape,
    **hyperparameters,
    importance_samples=config.evaluation.importance_samples,
  )
