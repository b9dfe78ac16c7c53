"""Mixture of Gaussians by expectation-maximisation (Dempster et al. 1977), in batches.

Symbols: x an image as (d,) numbers in [-1, 1], p(x) = sum_k w_k N(x; m_k, S_k), r_k(x) the
responsibilities. See `online_em` for what an update is.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import ml_collections
from jax.nn import softmax
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp

from jaxgen.datasets.splits import Facts
from jaxgen.objectives import base
from jaxgen.objectives.base import Example, Image, Key, Label, Memory, Metrics, Objective, Params
from jaxgen.objectives.linear.online_em import nothing_seen, online_em

# Factorisations go component by component: on a CPU a batch of them is shared out among threads, of
# which more devices than cores leave none free while they wait for each other.
EMPTY = 1e-8  # share of the images below which a component keeps no mean of its own


def log_joint(params: Params, x: jax.Array) -> jax.Array:
  """log w_k + log N(x; m_k, S_k) for each k: (d,) -> (K,), in nats."""
  away, roots = x[None] - params['means'], params['roots']
  if roots.ndim == 3:
    away = jax.lax.map(lambda pair: solve_triangular(*pair, lower=True), (roots, away))
    roots = jnp.diagonal(roots, axis1=1, axis2=2)
  else:
    away = away / roots
  exponents = jnp.sum(0.5 * away**2 + jnp.log(roots), axis=1)
  return params['log_weights'] - exponents - 0.5 * x.size * math.log(2.0 * math.pi)


def statistics(params: Params, x: jax.Array) -> tuple[Memory, jax.Array]:
  """r_k, r_k x and r_k x x^T (or its diagonal) of one image, and log p(x) in nats."""
  joint = log_joint(params, x)
  r = softmax(joint)
  square = jnp.outer(x, x) if params['roots'].ndim == 3 else x**2
  return {
    'zeroth': r,
    'first': r[:, None] * x[None],
    'second': jnp.multiply.outer(r, square),
  }, logsumexp(joint)


def maximise(seen: Memory, floor: float) -> Params:
  """The parameters of the largest likelihood with no variance below `floor`, given statistics.

  S_k is the covariance of component k's share, with the floor in place of smaller eigenvalues.

  Returns:
    `log_weights` (K,), `means` (K, d), and as `roots` standard deviations (K, d), or the triangular
    R_k of S_k = R_k R_k^T (K, d, d).
  """
  weights = jnp.maximum(seen['zeroth'], EMPTY)
  means = seen['first'] / weights[:, None]
  params = {'log_weights': jnp.log(weights / weights.sum()), 'means': means}
  if seen['second'].ndim == 2:
    variances = seen['second'] / weights[:, None] - means**2
    return params | {'roots': jnp.sqrt(jnp.maximum(variances, floor))}

  def root(moments: tuple[jax.Array, jax.Array]) -> jax.Array:
    second, mean = moments
    variances, axes = jnp.linalg.eigh(second - jnp.outer(mean, mean))
    return jnp.linalg.cholesky(axes * jnp.maximum(variances, floor)[None] @ axes.T)

  return params | {'roots': jax.lax.map(root, (seen['second'] / weights[:, None, None], means))}


def guess(means: jax.Array, variances: jax.Array, floor: float, full: bool) -> Params:
  """Components of equal weight at means (K, d), and one variance of each pixel (d,) for all."""
  components = len(means)
  roots = jnp.tile(jnp.sqrt(jnp.maximum(variances, floor)), (components, 1))
  return {
    'log_weights': jnp.full(components, -math.log(components)),
    'means': means,
    'roots': jax.vmap(jnp.diag)(roots) if full else roots,
  }


def init(
  components: int, dimension: int, floor: float, full: bool, key: Key
) -> tuple[Params, Memory]:
  """Components by chance, and the statistics of no image."""
  means = jax.random.normal(key, (components, dimension))
  params = guess(means, jnp.ones(dimension), floor, full)
  return params, nothing_seen(statistics, params, means[0])


def first_guess(floor: float, params: Params, images: jax.Array) -> Params:
  """Components at the first images, as wide as all of them."""
  mean, square = base.average(lambda x: (x, x**2), images)
  means = base.gather(images)[: len(params['means'])]
  return guess(means, square - mean**2, floor, params['roots'].ndim == 3)


def evaluate(params: Params, example: Example, key: Key) -> Metrics:
  """log p(x) in nats."""
  del key
  return {'log_density_nats': logsumexp(log_joint(params, example.image.ravel()))}


def sample(image_shape: tuple[int, int, int], params: Params, label: Label, key: Key) -> Image:
  """A draw of p(x)."""
  del label
  component_key, noise_key = jax.random.split(key)
  k = jax.random.categorical(component_key, params['log_weights'])
  noise, root = jax.random.normal(noise_key, params['means'].shape[1:]), params['roots'][k]
  full = root.ndim == 2
  return (params['means'][k] + (root @ noise if full else root * noise)).reshape(image_shape)


def rows_of_means(
  image_shape: tuple[int, int, int], params: Params, examples: Example, key: Key
) -> jax.Array:
  """The components' means, in rows of at most ten."""
  del examples, key
  columns = next(c for c in range(10, 0, -1) if len(params['means']) % c == 0)
  return params['means'].reshape(-1, columns, *image_shape)


def gaussian_mixture(
  image_shape: tuple[int, int, int],
  components: int,
  covariance: str = 'full',
  floor: float = 1e-3,
  forgetting: float = 0.0,
) -> Objective:
  """A mixture of Gaussians over pixels.

  Args:
    image_shape: (H, W, C).
    components: K; the first guess of their means are the first images of the first batch.
    covariance: 'full' or 'diagonal'.
    floor: the smallest variance along any axis.
    forgetting: the power a of the step size (t + 1)^-a by which the batch of update t = 0, 1, ...
      replaces what was seen before: 0 forgets all, 0.6 suits small batches.

  Raises:
    ValueError: an unknown covariance, or a number out of its range.
  """
  if covariance not in ('full', 'diagonal'):
    raise ValueError(f'objective.covariance={covariance!r}; choose full or diagonal')
  if components < 1 or floor <= 0.0 or not 0.0 <= forgetting <= 1.0:
    raise ValueError(
      f'objective.components={components} must be at least 1, objective.floor={floor} above 0 and '
      f'objective.forgetting={forgetting} in [0, 1]'
    )
  return Objective(
    partial(init, components, math.prod(image_shape), floor, covariance == 'full'),
    partial(
      online_em, partial(first_guess, floor), statistics, partial(maximise, floor=floor), forgetting
    ),
    evaluate,
    partial(sample, image_shape),
    figures={'means': partial(rows_of_means, image_shape)},
    # These parameters are no noisy ones of a descent: each update replaces those before.
    averaged=False,
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The mixture that a config describes.

  Raises:
    ValueError: more components than the first batch has images.
  """
  if config.objective.components > config.batch_size:
    raise ValueError(
      f'objective.components={config.objective.components} must not be above batch_size='
      f'{config.batch_size}, whose images are the first guess of their means'
    )
  return gaussian_mixture(facts.image_shape, **base.arguments(config.objective))
