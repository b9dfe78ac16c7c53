"""Bounds on log p(x), in nats, from samples of a posterior q(z|x), Gaussian or by a flow of one."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jaxgen.objectives.base import Key, Metrics
from jaxgen.objectives.distributions import gaussian_kl, log_normal
from jaxgen.objectives.variational.likelihoods import Likelihood

AT_ONCE = 100  # samples that a decoder sees together, so that its memory does not grow with K
Flow = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # z_0 -> z, log |det dz/dz_0|


def reparameterize(mean: jax.Array, log_variance: jax.Array, noise: jax.Array) -> jax.Array:
  """z = mean + sigma * noise, a differentiable sample of q(z|x) (Kingma & Welling 2013, eq. 4)."""
  return mean + jnp.exp(0.5 * log_variance) * noise


def evidence_lower_bound(log_likelihoods: jax.Array, kl: jax.Array, beta: float = 1.0) -> jax.Array:
  """(1/K) sum_k log p(x|z_k) - beta KL(q(z|x) || p(z)), for (K,) samples, in nats (eq. 7)."""
  return log_likelihoods.mean() - beta * kl


def importance_weighted_bound(log_weights: jax.Array) -> jax.Array:
  """log (1/K) sum_k p(x, z_k) / q(z_k|x), in nats (Burda et al. 2016, eq. 8)."""
  return logsumexp(log_weights) - jnp.log(log_weights.shape[0])


class Terms(NamedTuple):
  """What bounds on log p(x) of one image are made of, in nats.

  Attributes:
    log_likelihoods: (K,), log p(x|z_k).
    log_ratios: (K,), log p(z_k) - log q(z_k|x).
    kl: (), KL(q(z|x) || p(z)), in closed form where q is a Gaussian, and else of the samples.
  """

  log_likelihoods: jax.Array
  log_ratios: jax.Array
  kl: jax.Array

  def log_weights(self, beta: float | jax.Array = 1.0) -> jax.Array:
    """(K,), log p(x|z_k) + beta (log p(z_k) - log q(z_k|x))."""
    return self.log_likelihoods + beta * self.log_ratios


def terms(
  log_p: Callable[[jax.Array], jax.Array],
  mean: jax.Array,
  log_variance: jax.Array,
  key: Key,
  samples: int,
  flow: Flow | None = None,
) -> Terms:
  """The terms from samples of q(z|x) under p(z) = N(0, I).

  Args:
    log_p: z -> log p(x|z).
    mean: (latent,), of the Gaussian that q is, or that its flow begins with.
    log_variance: (latent,), the logs of the diagonal of its covariance.
    key: of the samples.
    samples: K.
    flow: what takes its samples to those of q.
  """
  z = draw(mean, log_variance, key, samples)
  return terms_at(z, log_p, mean, log_variance, flow)


def draw(mean: jax.Array, log_variance: jax.Array, key: Key, samples: int) -> jax.Array:
  """K samples of a Gaussian, (K, latent)."""
  noise = jax.random.normal(key, (samples, *mean.shape))
  return jax.vmap(reparameterize, in_axes=(None, None, 0))(mean, log_variance, noise)


def drawing(
  mean: jax.Array, log_variance: jax.Array, flow: Flow | None = None
) -> Callable[[Key], tuple[jax.Array, jax.Array]]:
  """A function that draws from q(z|x): key -> z (latent,), log q(z|x)."""

  def draw_one(key: Key) -> tuple[jax.Array, jax.Array]:
    z = reparameterize(mean, log_variance, jax.random.normal(key, mean.shape))
    log_q = log_normal(z, mean, log_variance)
    if flow:
      z, log_determinant = flow(z)
      log_q -= log_determinant
    return z, log_q

  return draw_one


def terms_at(
  z: jax.Array,
  log_p: Callable[[jax.Array], jax.Array],
  mean: jax.Array,
  log_variance: jax.Array,
  flow: Flow | None = None,
) -> Terms:
  """The terms from given samples of the Gaussian, (K, latent)."""
  log_q = jax.vmap(log_normal, in_axes=(0, None, None))(z, mean, log_variance)
  if flow:
    z, log_determinants = jax.vmap(flow)(z)
    log_q -= log_determinants
  standard = jnp.zeros_like(mean)
  log_prior = jax.vmap(log_normal, in_axes=(0, None, None))(z, standard, standard)
  log_ratios = log_prior - log_q
  kl = -log_ratios.mean() if flow else gaussian_kl(mean, log_variance)
  many = len(z) > AT_ONCE
  log_likelihoods = jax.lax.map(log_p, z, batch_size=AT_ONCE) if many else jax.vmap(log_p)(z)
  return Terms(log_likelihoods, log_ratios, kl)


def parts(terms: Terms, likelihood: Likelihood) -> Metrics:
  """The two terms of the evidence lower bound, named by what is measured."""
  name = f'reconstruction_{likelihood.measure}_nats'
  return {name: -terms.log_likelihoods.mean(), 'kl_nats': terms.kl}


def lower_bound(terms: Terms, likelihood: Likelihood, dimension: int) -> Metrics:
  """The evidence lower bound and its terms; of pixels on 256 levels also bits per dimension.

  Args:
    terms: of one image.
    likelihood: that they are of, whose measure is in the names.
    dimension: how many numbers an image has.
  """
  elbo = evidence_lower_bound(terms.log_likelihoods, terms.kl)
  found = {f'elbo_{likelihood.measure}_nats': elbo} | parts(terms, likelihood)
  bits = {'bits_per_dimension': -elbo / (dimension * math.log(2.0))}
  return found | (bits if likelihood.discrete else {})


def held_out(terms: Terms, likelihood: Likelihood, dimension: int) -> Metrics:
  """What `lower_bound` says, and the importance-weighted bound with the number of its samples."""
  name = f'importance_weighted_{len(terms.log_ratios)}_{likelihood.measure}_nats'
  weighted = {name: importance_weighted_bound(terms.log_weights())}
  return lower_bound(terms, likelihood, dimension) | weighted
