"""Adversarial variational Bayes: a posterior known by its samples alone (Mescheder et al. 2017).

Symbols: x image, h features of it, e ~ N(0, I) noise, z = g(h, e) a code; q(z|x) the law of z,
whose density nobody knows; p(x|z) the decoder's likelihood, p(z) = N(0, I). For any Gaussian r(z|x)

  KL(q || p) = E_q [log q - log r] + E_q [log r - log p].

A discriminator that tells z of q from z of r is best at T(x, z) = log q - log r (prop. 1), which
stands for the first part; the second is known. With r = p, T has the whole KL to learn. Adaptive
contrast is the r with the mean and the variances of q (sec. 4): T has only to learn what they do
not say, and sees z in their units, y = (z - mean) / deviation. The gradient of the bound goes
through z alone, as what T, and so r, have of it is 0 on average (prop. 2). As q sees x by h, so
does T.

T is never the best, and where it is behind, the bound is estimated too high. So held-out images
also have the bounds that r, a Gaussian with a density, has as a posterior: bounds whatever T says.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import build_network, mlp
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
from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.variational import bounds, diagnosis
from jaxgen.objectives.variational.likelihoods import (
  ObservationModel,
  build_observation_model,
)

EARLY = 1000  # updates before which codes need not tell images apart
LEAST = 1e-8  # variance of a dimension of q
Gaussian = tuple[jax.Array, jax.Array]  # mean and log variance, (latent,) each


def discriminator_loss(of_q: jax.Array, of_r: jax.Array) -> jax.Array:
  """-log sigmoid(T(z of q)) - log(1 - sigmoid(T(z of r))) (eq. 3.3), 2 log 2 where q is r."""
  return nn.softplus(-of_q) + nn.softplus(of_r)


def moments(z: jax.Array) -> Gaussian:
  """Mean and log variance of each dimension of samples (M, latent)."""
  return z.mean(axis=0), jnp.log(jnp.maximum(z.var(axis=0), LEAST))


def log_ratio_to_prior(z: jax.Array, r: Gaussian) -> jax.Array:
  """log r(z) - log p(z) in nats."""
  return log_normal(z, *r) - log_normal(z, jnp.zeros_like(z), jnp.zeros_like(z))


def adversarial_variational_bayes(
  encoder: nn.Module,
  sampler: nn.Module,
  observed: ObservationModel,
  discriminator: nn.Module,
  optimizer: optax.GradientTransformation,
  discriminator_optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  latent: int,
  noise: int,
  adaptive_contrast: bool = True,
  contrast_samples: int = 64,
  importance_samples: int = 10,
) -> Objective:
  """A VAE with an implicit posterior.

  Args:
    encoder: image -> the features h, a vector.
    sampler: (h, e) as one vector -> (latent,), a sample of q.
    observed: p(x|z), of z (latent,).
    discriminator: (h, y, y^2) as one vector -> (1,), T; a Gaussian q is linear in the last two.
    optimizer: of the first three together.
    discriminator_optimizer: of the discriminator.
    image_shape: (H, W, C).
    latent: dimension of z.
    noise: dimension of e.
    adaptive_contrast: whether r has the moments of q, or is p.
    contrast_samples: of q, that those are taken of.
    importance_samples: K of the importance-weighted bound in `evaluate`, and in its name.

  Raises:
    ValueError: no noise, or too few samples for a variance.
  """
  if noise < 1 or contrast_samples < 2:
    raise ValueError(
      f'objective.noise={noise} must be at least 1 and objective.contrast_samples='
      f'{contrast_samples} at least 2'
    )

  def init(key: Key) -> tuple[Params, Memory]:
    keys = jax.random.split(key, 4)
    h, encoded = encoder.init_with_output(keys[0], jnp.zeros(image_shape))
    model = {'encoder': encoded} | observed.init(keys[1], jnp.zeros(latent))
    model['sampler'] = sampler.init(keys[2], jnp.append(h, jnp.zeros(noise)))
    judge = discriminator.init(keys[3], jnp.append(h, jnp.zeros(2 * latent)))
    memory = {'model': optimizer.init(model), 'discriminator': discriminator_optimizer.init(judge)}
    return model | {'discriminator': judge}, memory

  def features(params: Params, image: Image) -> jax.Array:
    return encoder.apply(params['encoder'], image)

  def draw(params: Params, h: jax.Array, key: Key) -> jax.Array:
    """z of q."""
    return sampler.apply(params['sampler'], jnp.append(h, jax.random.normal(key, (noise,))))

  def gaussian(params: Params, h: jax.Array, key: Key) -> Gaussian:
    """The Gaussian with the moments of q."""
    keys = jax.random.split(key, contrast_samples)
    return moments(jax.vmap(lambda key: draw(params, h, key))(keys))

  def contrast(params: Params, h: jax.Array, key: Key) -> Gaussian:
    """r."""
    prior = jnp.zeros(latent), jnp.zeros(latent)
    return gaussian(params, h, key) if adaptive_contrast else prior

  def told(judge: Params, h: jax.Array, z: jax.Array, r: Gaussian) -> jax.Array:
    """T(x, z)."""
    y = (z - r[0]) * jnp.exp(-0.5 * r[1])
    return discriminator.apply(judge, jnp.concatenate([h, y, y**2]))[0]

  def judge_loss(
    judge: Params, model: Params, example: Example, key: Key
  ) -> tuple[jax.Array, Metrics]:
    keys = jax.random.split(key, 3)
    h = features(model, example.image)
    r = contrast(model, h, keys[0])
    z = draw(model, h, keys[1]), bounds.reparameterize(*r, jax.random.normal(keys[2], (latent,)))
    of_q, of_r = (told(judge, h, each, r) for each in z)
    return discriminator_loss(of_q, of_r), {
      'accuracy': jnp.float32([of_q > 0.0, of_r < 0.0]).mean()
    }

  def model_loss(
    model: Params, judge: Params, example: Example, key: Key
  ) -> tuple[jax.Array, Metrics]:
    keys = jax.random.split(key)
    h = features(model, example.image)
    r = contrast(*jax.lax.stop_gradient((model, h)), keys[0])
    z = draw(model, h, keys[1])
    kl = told(judge, jax.lax.stop_gradient(h), z, r) + log_ratio_to_prior(z, r)
    error = -observed.log_probability(model, example.image, z)
    name = f'reconstruction_{observed.likelihood.measure}_nats'
    return error + kl, {name: error, 'adversarial_kl_nats': kl}

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    """One step of the discriminator, then one of the model under it."""
    del step
    model = {name: part for name, part in params.items() if name != 'discriminator'}
    split = jax.vmap(jax.random.split)(keys)
    judge, judge_state, judged = base.descend(
      lambda judge, *seen: judge_loss(judge, model, *seen),
      *(discriminator_optimizer, params['discriminator'], memory['discriminator']),
      *(examples, split[:, 0]),
    )
    model, state, metrics = base.descend(
      lambda model, *seen: model_loss(model, judge, *seen),
      *(optimizer, model, memory['model'], examples, split[:, 1]),
    )
    memory = {'model': state, 'discriminator': judge_state}
    metrics |= base.prefix('discriminator', judged)
    return model | {'discriminator': judge}, memory, metrics

  def inferred(params: Params, image: Image, key: Key) -> Gaussian:
    return gaussian(params, features(params, image), key)

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    """The bounds of the Gaussian with the moments of q, and what T says of q itself."""
    keys = jax.random.split(key, 3)
    log_p = partial(observed.log_probability, params, example.image)
    q = inferred(params, example.image, keys[0])
    found = bounds.terms(log_p, *q, keys[1], importance_samples)
    estimate = partial(model_loss, params, params['discriminator'], example)
    losses, parts = jax.lax.map(estimate, jax.random.split(keys[2], importance_samples))
    return bounds.held_out(found, observed.likelihood, math.prod(image_shape)) | {
      f'adversarial_elbo_{observed.likelihood.measure}_nats': -losses.mean(),
      'adversarial_kl_nats': parts['adversarial_kl_nats'].mean(),
    }

  def diagnose(params: Params, examples: Example, key: Key) -> Metrics:
    keys = jax.random.split(key, len(examples.image))
    codes = jax.vmap(encode, in_axes=(None, 0, 0))(params, examples.image, keys)
    return diagnosis.activity(codes)

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    """The mean of q(z|x)."""
    return inferred(params, image, key)[0]

  def posterior(params: Params, image: Image, key: Key) -> Callable[[Key], tuple]:
    """Draws from the Gaussian with the moments of q, as q has no density."""
    return bounds.drawing(*inferred(params, image, key))

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return observed.decode(params, jax.random.normal(key, (latent,)), key)

  def warn(step: int, means: Mapping[str, float]) -> list[str]:
    """A sentence where the posterior has collapsed, after a while."""
    return diagnosis.warn(step, means) if step >= EARLY else []

  return Objective(
    init,
    update,
    evaluate,
    sample,
    encode,
    observed.decode,
    figures={'reconstructions': figures.reconstructions(encode, observed.decode)},
    diagnose=diagnose,
    networks={
      'encoder': encoder,
      'sampler': sampler,
      'decoder': observed.decoder,
      'discriminator': discriminator,
    },
    warn=warn,
    joint=observed.joint(posterior),
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  observed, fields = build_observation_model(config, facts)
  width, steps = fields.pop('width'), {'num_steps': config.num_steps}
  return adversarial_variational_bayes(
    build_network(config, 'Encoder', width),
    mlp.Encoder(fields['latent'], (width, width), dtype=config.network.dtype),
    observed,
    mlp.Encoder(1, (width, width), dtype=config.network.dtype),
    optimizers.find_optimizer(**config.optimizer, **steps),
    optimizers.find_optimizer(**config.discriminator_optimizer, **steps),
    facts.image_shape,
    **fields,
    importance_samples=config.evaluation.importance_samples,
  )
