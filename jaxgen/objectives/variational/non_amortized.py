"""Variational inference without an encoder: a posterior of its own for every image.

Stochastic variational inference (Hoffman et al. 2013) with a decoder that is learned: the Gaussian
q_i(z) = N(mean_i, diag exp(log_variance_i)) of training image i takes a few steps up the bound
whenever the image is in a batch, then the decoder takes one. A held-out image's posterior begins at
the prior and climbs under the decoder as it is. Beside a VAE, whose encoder has one answer for all,
the difference is the amortisation gap (Cremer et al. 2018).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.objectives import base, figures, optimizers, tables
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
from jaxgen.objectives.variational import bounds
from jaxgen.objectives.variational.likelihoods import (
  ObservationModel,
  build_observation_model,
)

Posterior = dict[str, jax.Array]  # mean and log_variance, (latent,) each


def non_amortized(
  observed: ObservationModel,
  optimizer: optax.GradientTransformation,
  posterior_optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  training_images: int,
  latent: int,
  inference_steps: int = 5,
  held_out_steps: int = 100,
  importance_samples: int = 10,
) -> Objective:
  """A decoder, and a Gaussian posterior for every training image.

  Args:
    observed: p(x|z), of z (latent,).
    optimizer: of the decoder.
    posterior_optimizer: of each posterior; each has a state of its own.
    image_shape: (H, W, C).
    training_images: how many posteriors there are.
    latent: dimension of z.
    inference_steps: of a posterior, each time that its image is seen.
    held_out_steps: of the posterior of an image that was never seen.
    importance_samples: K of the importance-weighted bound in `evaluate`, and in its name.

  Raises:
    ValueError: no steps of inference.
  """
  if min(inference_steps, held_out_steps) < 1:
    raise ValueError(
      f'objective.inference_steps={inference_steps} and evaluation.inference_steps='
      f'{held_out_steps} must be at least 1'
    )
  prior = {'mean': jnp.zeros(latent), 'log_variance': jnp.zeros(latent)}
  fresh = prior, posterior_optimizer.init(prior)

  def init(key: Key) -> tuple[Params, Memory]:
    params = observed.init(key, jnp.zeros(latent))
    table = jax.tree.map(lambda leaf: jnp.tile(leaf, (training_images, *[1] * leaf.ndim)), fresh)
    return params, {'decoder': optimizer.init(params), 'posteriors': table}

  def terms(params: Params, q: Posterior, image: Image, key: Key, samples: int) -> bounds.Terms:
    def log_p(z: jax.Array) -> jax.Array:
      return observed.log_probability(params, image, z)

    return bounds.terms(log_p, q['mean'], q['log_variance'], key, samples)

  def negative_bound(q: Posterior, params: Params, image: Image, key: Key) -> jax.Array:
    found = terms(params, q, image, key, 1)
    return -bounds.evidence_lower_bound(found.log_likelihoods, found.kl)

  def infer(params: Params, start: Any, image: Image, key: Key, steps: int) -> Any:
    """A posterior and its optimizer's state after so many steps up one image's bound."""

    def gradient(q: Posterior, key: Key) -> Posterior:
      return jax.grad(negative_bound)(q, params, image, key)

    return climb(gradient, posterior_optimizer, start, key, steps)

  def loss(params: Params, q: Posterior, image: Image, key: Key) -> tuple[jax.Array, Metrics]:
    found = terms(params, q, image, key, 1)
    elbo = bounds.evidence_lower_bound(found.log_likelihoods, found.kl)
    return -elbo, bounds.parts(found, observed.likelihood)

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    del step
    own = jax.tree.map(lambda table: table[examples.row], memory['posteriors'])

    def climbed(start: Any, image: Image, key: Key) -> Any:
      return infer(params, start, image, jax.random.fold_in(key, 0), inference_steps)

    own = base.each(climbed, own, examples.image, keys)
    noise = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
    params, state, metrics = base.descend(
      loss, optimizer, params, memory['decoder'], own[0], examples.image, noise
    )
    table = tables.put(memory['posteriors'], *base.gather((examples.row, own)))
    return params, {'decoder': state, 'posteriors': table}, metrics

  def inferred(params: Params, image: Image, key: Key) -> Posterior:
    return infer(params, fresh, image, key, held_out_steps)[0]

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    inference_key, bound_key = jax.random.split(key)
    q = inferred(params, example.image, inference_key)
    found = terms(params, q, example.image, bound_key, importance_samples)
    return bounds.held_out(found, observed.likelihood, math.prod(image_shape))

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    """The mean of the posterior that is inferred for it."""
    return inferred(params, image, key)['mean']

  def posterior(params: Params, image: Image, key: Key) -> Callable[[Key], tuple]:
    q = inferred(params, image, key)
    return bounds.drawing(q['mean'], q['log_variance'])

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return observed.decode(params, jax.random.normal(key, (latent,)), key)

  shown = {'reconstructions': figures.reconstructions(encode, observed.decode)}
  return Objective(
    *(init, update, evaluate, sample, encode, observed.decode, shown),
    networks={'decoder': observed.decoder},
    joint=observed.joint(posterior),
  )


def climb(
  gradient: Callable[[Posterior, Key], Posterior],
  optimizer: optax.GradientTransformation,
  start: tuple[Posterior, Any],
  key: Key,
  steps: int,
) -> tuple[Posterior, Any]:
  """A posterior and its optimizer's state after so many steps, each with noise of its own."""

  def step(carry: tuple[Posterior, Any], i: jax.Array) -> tuple[Any, None]:
    q, state = carry
    updates, state = optimizer.update(gradient(q, jax.random.fold_in(key, i)), state, q)
    return (optax.apply_updates(q, updates), state), None

  return jax.lax.scan(step, start, jnp.arange(steps))[0]


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  observed, fields = build_observation_model(config, facts)
  return non_amortized(
    observed,
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    optimizers.find_optimizer(**config.posterior_optimizer, num_steps=config.num_steps),
    facts.image_shape,
    facts.training_images,
    **fields,
    held_out_steps=config.evaluation.inference_steps,
    importance_samples=config.evaluation.importance_samples,
  )
