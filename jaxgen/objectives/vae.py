"""Variational autoencoder (Kingma & Welling 2013; K samples and bound of Burda et al. 2016).

Symbols: x image, z latent code, q(z|x) = N(mean, diag exp(log_variance)) the encoder,
p(x|z) the decoder's likelihood, p(z) = N(0, I). Logarithms are natural, bounds are in nats.
"""

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

from jaxgen import optimizers
from jaxgen.errors import find_module
from jaxgen.objective import Image, Images, Key, Metrics, Objective, Params, arguments, descend


def gaussian_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
  """KL(N(mean, diag exp(log_variance)) || N(0, I)) in nats (Kingma & Welling 2013, app. B)."""
  return 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1.0 - log_variance)


def reparameterize(mean: jax.Array, log_variance: jax.Array, noise: jax.Array) -> jax.Array:
  """z = mean + sigma * noise, a differentiable sample of q(z|x) (Kingma & Welling 2013, eq. 4)."""
  return mean + jnp.exp(0.5 * log_variance) * noise


def log_normal(x: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
  """log N(x; mean, diag exp(log_variance)), summed over all dimensions, in nats."""
  square = (x - mean) ** 2 * jnp.exp(-log_variance)
  return -0.5 * jnp.sum(square + log_variance + jnp.log(2.0 * jnp.pi))


class Likelihood(NamedTuple):
  """p(x|z) given the decoder's unbounded output and the learned log variance."""

  log_probability: Callable[[Image, jax.Array, jax.Array], jax.Array]  # nats, summed over pixels
  mean: Callable[[jax.Array], Image]  # in [-1, 1]


def log_bernoulli(x: Image, logits: jax.Array, log_variance: jax.Array) -> jax.Array:
  """sum_i u_i log p_i + (1 - u_i) log(1 - p_i), with u = (x + 1) / 2 in [0, 1], p = sigmoid.

  A probability where pixels are 0 or 1; the usual cross-entropy surrogate where they are grey.
  """
  del log_variance
  return jnp.sum((x + 1.0) / 2.0 * logits - nn.softplus(logits))  # log(1 - p) = -softplus(logits)


LIKELIHOODS = {
  'bernoulli': Likelihood(log_bernoulli, lambda logits: 2.0 * nn.sigmoid(logits) - 1.0),
  # With variance 1/2 fixed, -log p is the squared error up to a constant.
  'gaussian': Likelihood(log_normal, lambda output: output),
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
    importance_samples: K of the importance-weighted bound in `evaluate`.
    log_variance: of the Gaussian likelihood, shared by all pixels; where it starts if learned.
    learn_variance: whether it is learned (Rybkin et al. 2021).
  """

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

  def bound(params: Params, image: Image, key: Key, count: int, beta: float) -> Metrics:
    mean, log_variance = encode(params, image)
    noise = jax.random.normal(key, (count, latent))
    z = jax.vmap(reparameterize, in_axes=(None, None, 0))(mean, log_variance, noise)
    log_likelihoods = jax.vmap(log_p, in_axes=(None, None, 0))(params, image, z)
    log_prior = jax.vmap(log_normal, in_axes=(0, None, None))(
      z, jnp.zeros(latent), jnp.zeros(latent)
    )
    log_q = jax.vmap(log_normal, in_axes=(0, None, None))(z, mean, log_variance)
    kl = gaussian_kl(mean, log_variance)
    return {
      'elbo_nats': evidence_lower_bound(log_likelihoods, kl, beta),
      'importance_weighted_nats': importance_weighted_bound(log_likelihoods + log_prior - log_q),
      'reconstruction_nats': -log_likelihoods.mean(),
      'kl_nats': kl,
    }

  def loss(params: Params, image: Image, key: Key) -> tuple[jax.Array, Metrics]:
    terms = bound(params, image, key, samples, beta)
    return -terms['elbo_nats'], {name: terms[name] for name in ('reconstruction_nats', 'kl_nats')}

  def evaluate(params: Params, image: Image, key: Key) -> Metrics:
    return bound(params, image, key, importance_samples, 1.0)

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
  network = find_module('jaxgen.networks', config.network.name)
  return vae(
    network.Encoder(2 * latent, **arguments(config.network)),
    network.Decoder(image_shape, **arguments(config.network)),
    optimizers.build(**config.optimizer, num_steps=config.num_steps),
    LIKELIHOODS[likelihood],
    image_shape,
    **hyperparameters,
  )
