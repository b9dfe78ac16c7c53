"""Probabilistic principal component analysis by expectation-maximisation, in batches.

Tipping & Bishop 1999. Symbols: x an image as (d,) numbers in [-1, 1], z ~ N(0, I) its code (q,),
x = W z + mu + noise of variance s2, so that p(x) = N(mu, W W^T + s2 I); M = W^T W + s2 I. See
`online_em` for what an update is. The limit of EM has the leading eigenvectors of the images'
covariance as its axes and the mean of the other eigenvalues as its noise. The M step knows the
covariance of the codes as a parameter too, and puts it into W (PX-EM, Liu et al. 1998): EM without
that finds the length of W in steps of s2 over an eigenvalue, which on images is thousands of them.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import ml_collections
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular

from jaxgen.datasets.splits import Facts
from jaxgen.objectives import base, figures
from jaxgen.objectives.base import (
  Example,
  Image,
  Joint,
  Key,
  Label,
  Memory,
  Metrics,
  Objective,
  Params,
)
from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.linear.online_em import nothing_seen, online_em

SHOWN = 10  # principal axes in the figure, at most


def complete(mean: jax.Array, weights: jax.Array, variance: jax.Array) -> Params:
  """mu (d,), W (d, q) and s2 (), and what each image needs of them alike.

  Returns:
    `mean`, `weights`, `variance`; the posterior's `covariance` s2 M^-1 (q, q) of every code, and
    `mean_log_variance` (), log |W W^T + s2 I| / d, whose determinant is s2^(d - q) |M|.
  """
  d, q = weights.shape
  factor = cho_factor(weights.T @ weights + variance * jnp.eye(q), lower=True)
  log_m = 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor[0])))
  return {
    'mean': mean,
    'weights': weights,
    'variance': variance,
    'covariance': variance * cho_solve(factor, jnp.eye(q)),
    'mean_log_variance': ((d - q) * jnp.log(variance) + log_m) / d,
  }


def posterior_mean(params: Params, x: jax.Array) -> jax.Array:
  """E[z | x] = M^-1 W^T (x - mu): (d,) -> (q,) (app. B)."""
  back = params['weights'].T @ (x - params['mean'])
  return params['covariance'] @ back / params['variance']


def log_density(params: Params, x: jax.Array) -> jax.Array:
  """log N(x; mu, W W^T + s2 I) in nats.

  The quadratic form is |x - mu - W z|^2 / s2 + |z|^2 at z = E[z | x], a sum of what is positive.
  """
  z = posterior_mean(params, x)
  rest = x - params['mean'] - params['weights'] @ z
  square = jnp.sum(rest**2) / params['variance'] + jnp.sum(z**2)
  return -0.5 * (x.size * (math.log(2.0 * math.pi) + params['mean_log_variance']) + square)


def log_likelihood(params: Params, image: Image, z: jax.Array) -> jax.Array:
  """log p(x | z) = log N(x; W z + mu, s2 I) in nats."""
  x, mean = image.ravel(), params['weights'] @ z + params['mean']
  return log_normal(x, mean, jnp.full_like(x, jnp.log(params['variance'])))


def posterior(
  params: Params, image: Image, key: Key
) -> Callable[[Key], tuple[jax.Array, jax.Array]]:
  """A function that draws from p(z | x) = N(E[z | x], s2 M^-1): key -> z (q,), log p(z | x)."""
  del key
  mean, root = posterior_mean(params, image.ravel()), jnp.linalg.cholesky(params['covariance'])

  def draw(key: Key) -> tuple[jax.Array, jax.Array]:
    noise, zeros = jax.random.normal(key, mean.shape), jnp.zeros_like(mean)
    log_q = log_normal(noise, zeros, zeros) - jnp.sum(jnp.log(jnp.diagonal(root)))
    return mean + root @ noise, log_q

  return draw


def statistics(params: Params, x: jax.Array) -> tuple[Memory, jax.Array]:
  """x, |x|^2 / d, E[z], E[z z^T] and x E[z]^T of one image, and log p(x) in nats."""
  z = posterior_mean(params, x)
  return {
    'image': x,
    'image_square': jnp.mean(x**2),
    'code': z,
    'code_square': params['covariance'] + jnp.outer(z, z),
    'product': jnp.outer(x, z),
  }, log_density(params, x)


def maximise(seen: Memory, floor: float) -> Params:
  """The images' mean, and the W and s2 >= floor of the largest likelihood, given statistics.

  With L L^T = E[z z^T], the regression E[(x - mu) z^T] E[z z^T]^-1 (eq. 27) of images on codes of
  that covariance is W = E[(x - mu) z^T] L^-T of codes of covariance I, and d s2 is
  E|x - mu|^2 - |W|^2 (eq. 28).
  """
  mean = seen['image']
  product = seen['product'] - jnp.outer(mean, seen['code'])
  root = jnp.linalg.cholesky(seen['code_square'])
  weights = solve_triangular(root, product.T, lower=True).T
  square = seen['image_square'] - jnp.mean(mean**2)
  variance = square - jnp.sum(weights**2) / mean.size
  return complete(mean, weights, jnp.maximum(variance, floor))


def init(dimension: int, latent: int, key: Key) -> tuple[Params, Memory]:
  """Directions by chance, and the statistics of no image."""
  weights = jax.random.normal(key, (dimension, latent)) / math.sqrt(dimension)
  params = complete(jnp.zeros(dimension), weights, jnp.ones(()))
  return params, nothing_seen(statistics, params, params['mean'])


def first_guess(floor: float, params: Params, images: jax.Array) -> Params:
  """Mean and mean variance of the first images, with directions by chance."""
  mean, square = base.average(lambda x: (x, x**2), images)
  return complete(mean, params['weights'], jnp.maximum(jnp.mean(square - mean**2), floor))


def evaluate(params: Params, example: Example, key: Key) -> Metrics:
  """log p(x) in nats."""
  del key
  return {'log_density_nats': log_density(params, example.image.ravel())}


def encode(params: Params, image: Image, key: Key) -> jax.Array:
  """The mean of p(z | x)."""
  del key
  return posterior_mean(params, image.ravel())


def decode(image_shape: tuple[int, int, int], params: Params, z: jax.Array, key: Key) -> Image:
  """The mean of p(x | z)."""
  del key
  return (params['weights'] @ z + params['mean']).reshape(image_shape)


def draw_image(image_shape: tuple[int, int, int], params: Params, z: jax.Array, key: Key) -> Image:
  """A draw of p(x | z)."""
  noise = jnp.sqrt(params['variance']) * jax.random.normal(key, image_shape)
  return decode(image_shape, params, z, key) + noise


def sample(image_shape: tuple[int, int, int], params: Params, label: Label, key: Key) -> Image:
  """A draw of p(x), its pixels brought into [-1, 1]."""
  del label
  code_key, noise_key = jax.random.split(key)
  z = jax.random.normal(code_key, params['weights'].shape[1:])
  return jnp.clip(draw_image(image_shape, params, z, noise_key), -1.0, 1.0)


def axes(
  image_shape: tuple[int, int, int], params: Params, examples: Example, key: Key
) -> jax.Array:
  """Each row: along a principal axis, from two standard deviations below the mean to two above.

  The leading axes come first. EM finds W up to a rotation of the codes, which this undoes.
  """
  del examples, key
  _, rotation = jnp.linalg.eigh(params['weights'].T @ params['weights'])
  along = (params['weights'] @ rotation[:, ::-1]).T[:SHOWN]
  shifts = jnp.linspace(-2.0, 2.0, 5)
  pictures = params['mean'][None, None] + shifts[None, :, None] * along[:, None]
  return pictures.reshape(*pictures.shape[:2], *image_shape)


def probabilistic_pca(
  image_shape: tuple[int, int, int], latent: int, floor: float = 1e-3, forgetting: float = 0.0
) -> Objective:
  """Gaussian codes, a linear map, and noise that is the same for every pixel.

  Args:
    image_shape: (H, W, C).
    latent: q, the number of principal axes.
    floor: the smallest variance of the noise.
    forgetting: the power a of the step size (t + 1)^-a by which the batch of update t = 0, 1, ...
      replaces what was seen before: 0 forgets all, 0.6 suits small batches.

  Raises:
    ValueError: a number out of its range.
  """
  dimension = math.prod(image_shape)
  if not 1 <= latent < dimension:
    raise ValueError(
      f'objective.latent={latent} must be at least 1 and below the {dimension} numbers of an image'
    )
  if floor <= 0.0 or not 0.0 <= forgetting <= 1.0:
    raise ValueError(
      f'objective.floor={floor} must be above 0 and objective.forgetting={forgetting} in [0, 1]'
    )

  decoded = partial(decode, image_shape)
  return Objective(
    partial(init, dimension, latent),
    partial(
      online_em, partial(first_guess, floor), statistics, partial(maximise, floor=floor), forgetting
    ),
    evaluate,
    partial(sample, image_shape),
    encode,
    decoded,
    {
      'axes': partial(axes, image_shape),
      'reconstructions': figures.reconstructions(encode, decoded),
    },
    # These parameters are no noisy ones of a descent: each update replaces those before.
    averaged=False,
    joint=Joint('gaussian_density', log_likelihood, partial(draw_image, image_shape), posterior),
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  return probabilistic_pca(facts.image_shape, **base.arguments(config.objective))
