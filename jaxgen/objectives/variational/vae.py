"""Variational autoencoder (Kingma & Welling 2013) and its importance-weighted kin (Burda 2016).

Symbols: x image, z latent code, q(z|x) the posterior that the encoder gives, by default
N(mean, diag exp(log_variance)), p(x|z) the decoder's likelihood, p(z) = N(0, I). Logarithms are
natural, bounds are in nats.
"""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import build_network
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
from jaxgen.objectives.variational import bounds, diagnosis, estimators, posteriors
from jaxgen.objectives.variational.likelihoods import (
  ObservationModel,
  build_observation_model,
)


def vae(
  encoder: nn.Module,
  observed: ObservationModel,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  latent: int,
  beta: float = 1.0,
  samples: int = 1,
  posterior: str = 'diagonal',
  flows: int = 0,
  bound: str = 'elbo',
  gradient: str = 'naive',
  free_bits: float = 0.0,
  warm_up_steps: int = 0,
  importance_samples: int = 10,
) -> Objective:
  """Amortised inference.

  Args:
    encoder: image -> what the posterior is made of, as many numbers as it wants.
    observed: p(x|z), of z (latent,).
    optimizer: of encoder and decoder together.
    image_shape: (H, W, C).
    latent: dimension of z.
    beta: weight of the KL term; 1 is the bound on log p(x), others are Higgins et al. 2017.
    samples: K of the training bound.
    posterior: family of q(z|x), see `posteriors`.
    flows: steps from a Gaussian to q(z|x).
    bound: that is trained, see `estimators`.
    gradient: how the encoder's is estimated.
    free_bits: nats of each dimension's KL, averaged over the batch, that are not worth saving.
    warm_up_steps: updates over which beta rises linearly from 0.
    importance_samples: K of the importance-weighted bound in `evaluate`, and in its name.

  Raises:
    ValueError: hyperparameters that do not go together.
  """
  family = posteriors.find_posterior(posterior, latent, flows)
  if flows and (gradient != 'naive' or free_bits):
    raise ValueError(
      f'objective.posterior={posterior} is known at its own samples alone: set '
      'objective.gradient=naive and objective.free_bits=0'
    )
  estimate = estimators.estimator(bound, gradient, samples, free_bits)
  beta_at = estimators.warm_up(beta, warm_up_steps)

  def init(key: Key) -> tuple[Params, Memory]:
    keys = jax.random.split(key, 3 if family.init else 2)
    params = {'encoder': encoder.init(keys[0], jnp.zeros(image_shape))}
    params |= observed.init(keys[1], jnp.zeros(latent))
    params |= {'flow': family.init(keys[2])} if family.init else {}
    return params, optimizer.init(params)

  def infer(params: Params, image: Image) -> tuple[jax.Array, jax.Array, bounds.Flow | None]:
    return family.parts(params.get('flow'), encoder.apply(params['encoder'], image))

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    weight = beta_at(step)

    def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
      log_p = partial(observed.log_probability, params, example.image)
      *gaussian, flow = infer(params, example.image)
      value, found = estimate(log_p, *gaussian, key, weight, flow)
      return -value, bounds.parts(found, observed.likelihood)

    return base.descend(loss, optimizer, params, memory, examples, keys)

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    log_p = partial(observed.log_probability, params, example.image)
    *gaussian, flow = infer(params, example.image)
    found = bounds.terms(log_p, *gaussian, key, importance_samples, flow)
    return bounds.held_out(found, observed.likelihood, math.prod(image_shape))

  def diagnose(params: Params, examples: Example, key: Key) -> Metrics:
    if flows:
      return diagnosis.activity(jax.vmap(lambda image: encode(params, image, key))(examples.image))
    gaussians = jax.vmap(lambda image: infer(params, image)[:2])(examples.image)
    return diagnosis.diagnose(*gaussians, key)

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    """The mean of q(z|x), or what its flow makes of the mean that it begins with."""
    del key
    mean, _, flow = infer(params, image)
    return flow(mean)[0] if flow else mean

  def posterior(params: Params, image: Image, key: Key) -> Callable[[Key], tuple]:
    del key
    return bounds.drawing(*infer(params, image))

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return observed.decode(params, jax.random.normal(key, (latent,)), key)

  shown = {'reconstructions': figures.reconstructions(encode, observed.decode)}
  shown |= {'manifold': figures.manifold(observed.decode)} if latent == 2 else {}
  return Objective(
    init,
    update,
    evaluate,
    sample,
    encode,
    observed.decode,
    figures=shown,
    diagnose=diagnose,
    networks={'encoder': encoder, 'decoder': observed.decoder},
    warn=diagnosis.warn,
    joint=observed.joint(posterior),
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The VAE that a config describes."""
  observed, fields = build_observation_model(config, facts)
  family = posteriors.find_posterior(fields['posterior'], fields['latent'], fields['flows'])
  return vae(
    build_network(config, 'Encoder', family.outputs),
    observed,
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **fields,
    importance_samples=config.evaluation.importance_samples,
  )
