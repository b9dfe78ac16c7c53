"""Variational inference without an encoder: a posterior of its own for every image.

Stochastic variational inference (Hoffman et al. 2013) with a decoder that is learned: the Gaussian
q_i(z) = N(mean_i, diag exp(log_variance_i)) of training image i takes a few steps up the bound
whenever the image is in a batch, then the decoder takes one. A held-out image's posterior begins at
the prior and climbs under the decoder as it is. Beside a VAE, whose encoder has one answer for all,
the difference is the amortisation gap (Cremer et al. 2018).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.objectives import base, figures, optimizers, tables
from jaxgen.objectives.base import Example, Image, Key, Keys, Memory, Metrics, Objective, Params
from jaxgen.objectives.variational import bounds
from jaxgen.objectives.variational.likelihoods import ObservationModel, build_observation_model

Posterior = dict[str, jax.Array]  # mean and log_variance, (latent,) each
Climber = tuple[Posterior, Any]  # on its way up the bound, with its optimizer's state


def climb(
  gradient: Callable[[Posterior, Key], Posterior],
  optimizer: optax.GradientTransformation,
  start: Climber,
  key: Key,
  steps: int,
) -> Climber:
  """A posterior and its optimizer's state after so many steps, each with noise of its own."""

  def step(carry: Climber, i: jax.Array) -> tuple[Climber, None]:
    q, state = carry
    updates, state = optimizer.update(gradient(q, jax.random.fold_in(key, i)), state, q)
    return (optax.apply_updates(q, updates), state), None

  return jax.lax.scan(step, start, jnp.arange(steps))[0]


@dataclass(frozen=True)
class Inference:
  """What is found out of z, image by image, under a decoder that stays as it is.

  Attributes:
    observed: p(x|z), of z (latent,).
    optimizer: of a posterior.
    prior: p(z) as a posterior, with its optimizer's first state.
    held_out_steps: of the posterior of an image that was never seen.
  """

  observed: ObservationModel
  optimizer: optax.GradientTransformation
  prior: Climber
  held_out_steps: int

  def terms(
    self, params: Params, q: Posterior, image: Image, key: Key, samples: int
  ) -> bounds.Terms:
    """Of the bound on log p(x) by q."""
    log_p = partial(self.observed.log_probability, params, image)
    return bounds.terms(log_p, **q, key=key, samples=samples)

  def loss(self, params: Params, q: Posterior, image: Image, key: Key) -> tuple[jax.Array, Metrics]:
    """The bound at one sample, with its sign changed, and its parts."""
    found = self.terms(params, q, image, key, 1)
    elbo = bounds.evidence_lower_bound(found.log_likelihoods, found.kl)
    return -elbo, bounds.parts(found, self.observed.likelihood)

  def fit(self, params: Params, start: Climber, image: Image, key: Key, steps: int) -> Climber:
    """A posterior after so many steps up one image's bound."""

    def gradient(q: Posterior, key: Key) -> Posterior:
      return jax.grad(lambda q: self.loss(params, q, image, key)[0])(q)

    return climb(gradient, self.optimizer, start, key, steps)

  def infer(self, params: Params, image: Image, key: Key) -> Posterior:
    """The posterior of an image that was never seen."""
    return self.fit(params, self.prior, image, key, self.held_out_steps)[0]

  def encode(self, params: Params, image: Image, key: Key) -> jax.Array:
    """The mean of the posterior that is inferred for an image."""
    return self.infer(params, image, key)['mean']

  def posterior(self, params: Params, image: Image, key: Key) -> Callable[[Key], tuple]:
    """Draws from the one that is inferred."""
    return bounds.drawing(**self.infer(params, image, key))


def update(
  inference: Inference,
  optimizer: optax.GradientTransformation,
  steps: int,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """So many steps of the batch's posteriors, then one of the decoder under them."""
  del step

  def climbed(start: Climber, image: Image, key: Key) -> Climber:
    return inference.fit(params, start, image, jax.random.fold_in(key, 0), steps)

  own = jax.tree.map(lambda table: table[examples.row], memory['posteriors'])
  own = base.each(climbed, own, examples.image, keys)
  noise = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
  params, state, metrics = base.descend(
    inference.loss, optimizer, params, memory['decoder'], own[0], examples.image, noise
  )
  table = tables.put(memory['posteriors'], *base.gather((examples.row, own)))
  return params, {'decoder': state, 'posteriors': table}, metrics


def evaluate(
  inference: Inference, samples: int, params: Params, example: Example, key: Key
) -> Metrics:
  """The bounds of the posterior inferred for a held-out image."""
  inference_key, bound_key = jax.random.split(key)
  q = inference.infer(params, example.image, inference_key)
  found = inference.terms(params, q, example.image, bound_key, samples)
  return bounds.held_out(found, inference.observed.likelihood, example.image.size)


def non_amortized(
  observed: ObservationModel,
  optimizer: optax.GradientTransformation,
  posterior_optimizer: optax.GradientTransformation,
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
  inference = Inference(observed, posterior_optimizer, fresh, held_out_steps)

  def init(key: Key) -> tuple[Params, Memory]:
    params = observed.init(key, jnp.zeros(latent))
    table = jax.tree.map(lambda leaf: jnp.tile(leaf, (training_images, *[1] * leaf.ndim)), fresh)
    return params, {'decoder': optimizer.init(params), 'posteriors': table}

  return Objective(
    init,
    partial(update, inference, optimizer, inference_steps),
    partial(evaluate, inference, importance_samples),
    partial(observed.sample, latent),
    inference.encode,
    observed.decode,
    figures={'reconstructions': figures.reconstructions(inference.encode, observed.decode)},
    networks={'decoder': observed.decoder},
    joint=observed.joint(inference.posterior),
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes.

  Raises:
    ValueError: a schedule of the posteriors' rate: each of them counts its own few steps.
  """
  observed, fields = build_observation_model(config, facts)
  section = config.posterior_optimizer
  if section.schedule != 'constant' or section.warmup_steps:
    raise ValueError(
      f'posterior_optimizer.schedule={section.schedule} and warmup_steps={section.warmup_steps} '
      'would count the steps of a single posterior, which are few: choose constant and 0'
    )
  return non_amortized(
    observed,
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    optimizers.find_optimizer(**config.posterior_optimizer, num_steps=config.num_steps),
    facts.training_images,
    **fields,
    held_out_steps=config.evaluation.inference_steps,
    importance_samples=config.evaluation.importance_samples,
  )
