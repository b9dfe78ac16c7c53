"""Variational autoencoder (Kingma & Welling 2013) and its importance-weighted kin (Burda 2016).

Symbols: x image, z latent code, q(z|x) the posterior that the encoder gives, by default
N(mean, diag exp(log_variance)), p(x|z) the decoder's likelihood, p(z) = N(0, I). Logarithms are
natural, bounds are in nats.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import build_network
from jaxgen.objectives import base, figures, optimizers
from jaxgen.objectives.base import Example, Image, Key, Keys, Memory, Metrics, Objective, Params
from jaxgen.objectives.variational import bounds, diagnosis, estimators, posteriors
from jaxgen.objectives.variational.likelihoods import ObservationModel, build_observation_model
from jaxgen.objectives.variational.posteriors import Posterior


@dataclass(frozen=True)
class VAE:
  """q(z|x) by an encoder, and p(x|z).

  Attributes:
    encoder: image -> what the posterior is made of, as many numbers as it wants.
    family: of q(z|x).
    observed: p(x|z), of z (latent,).
    latent: dimension of z.
    flows: steps from a Gaussian to q(z|x).
  """

  encoder: nn.Module
  family: Posterior
  observed: ObservationModel
  latent: int
  flows: int

  def init(self, key: Key, image_shape: tuple[int, int, int]) -> Params:
    """Parameters for images (H, W, C)."""
    keys = jax.random.split(key, 3 if self.family.init else 2)
    params = {'encoder': self.encoder.init(keys[0], jnp.zeros(image_shape))}
    params |= self.observed.init(keys[1], jnp.zeros(self.latent))
    return params | ({'flow': self.family.init(keys[2])} if self.family.init else {})

  def infer(self, params: Params, image: Image) -> tuple[jax.Array, jax.Array, bounds.Flow | None]:
    """Mean and log variance of a Gaussian, and the flow from it to q(z|x), if there is one."""
    return self.family.parts(params.get('flow'), self.encoder.apply(params['encoder'], image))

  def encode(self, params: Params, image: Image, key: Key) -> jax.Array:
    """The mean of q(z|x), or what its flow makes of the mean that it begins with."""
    del key
    mean, _, flow = self.infer(params, image)
    return flow(mean)[0] if flow else mean

  def posterior(self, params: Params, image: Image, key: Key) -> Callable[[Key], tuple]:
    """A function that draws from q(z|x): key -> z, log q(z|x)."""
    del key
    return bounds.drawing(*self.infer(params, image))


def loss(
  vae: VAE,
  estimate: estimators.Estimate,
  beta: jax.Array,
  params: Params,
  example: Example,
  key: Key,
) -> tuple[jax.Array, Metrics]:
  """The bound at one draw, with its sign changed, and its parts."""
  log_p = partial(vae.observed.log_probability, params, example.image)
  *gaussian, flow = vae.infer(params, example.image)
  value, found = estimate(log_p, *gaussian, key, beta, flow)
  return -value, bounds.parts(found, vae.observed.likelihood)


def update(
  vae: VAE,
  optimizer: optax.GradientTransformation,
  estimate: estimators.Estimate,
  beta_at: Callable[[jax.Array], jax.Array],
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """A step up the bound, with the beta of its time."""
  learn = partial(base.descend, partial(loss, vae, estimate, beta_at(step)), optimizer)
  return learn(params, memory, examples, keys)


def evaluate(vae: VAE, samples: int, params: Params, example: Example, key: Key) -> Metrics:
  """The bounds of a held-out image."""
  log_p = partial(vae.observed.log_probability, params, example.image)
  *gaussian, flow = vae.infer(params, example.image)
  found = bounds.terms(log_p, *gaussian, key, samples, flow)
  return bounds.held_out(found, vae.observed.likelihood, example.image.size)


def diagnose(vae: VAE, params: Params, examples: Example, key: Key) -> Metrics:
  """How active the codes are; of a Gaussian posterior also what they tell of the images."""
  if vae.flows:
    codes = jax.vmap(lambda image: vae.encode(params, image, key))(examples.image)
    return diagnosis.activity(codes)
  gaussians = jax.vmap(lambda image: vae.infer(params, image)[:2])(examples.image)
  return diagnosis.diagnose(*gaussians, key)


def pictures(vae: VAE) -> dict[str, figures.Figure]:
  """What becomes of images, and the plane of codes where they lie in one."""
  shown = {'reconstructions': figures.reconstructions(vae.encode, vae.observed.decode)}
  return shown | ({'manifold': figures.manifold(vae.observed.decode)} if vae.latent == 2 else {})


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
  model = VAE(encoder, family, observed, latent, flows)
  check(posterior, flows, gradient, free_bits)
  estimate = estimators.estimator(bound, gradient, samples, free_bits)

  def init(key: Key) -> tuple[Params, Memory]:
    params = model.init(key, image_shape)
    return params, optimizer.init(params)

  return Objective(
    init,
    partial(update, model, optimizer, estimate, estimators.warm_up(beta, warm_up_steps)),
    partial(evaluate, model, importance_samples),
    partial(observed.sample, latent),
    model.encode,
    observed.decode,
    figures=pictures(model),
    diagnose=partial(diagnose, model),
    networks={'encoder': encoder, 'decoder': observed.decoder},
    warn=diagnosis.warn,
    joint=observed.joint(model.posterior),
  )


def check(posterior: str, flows: int, gradient: str, free_bits: float) -> None:
  """Raises ValueError where a bent posterior would have to be known in closed form."""
  if flows and (gradient != 'naive' or free_bits):
    raise ValueError(
      f'objective.posterior={posterior} is known at its own samples alone: set '
      'objective.gradient=naive and objective.free_bits=0'
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
