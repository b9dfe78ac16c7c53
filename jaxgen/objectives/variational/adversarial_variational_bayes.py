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

T is never the best, and where it is behind, the bound is estimated too high. Also by about latent
/ M nats where the moments of r are of M draws, which T never sees: by 0.3 in training, with latent
20 and M = 64, and less of held-out images, whose moments are of MOMENTS draws. So these also have
the bounds that r, a Gaussian with a density, has as a posterior: bounds whatever T says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import build_network, mlp
from jaxgen.objectives import base, figures, optimizers
from jaxgen.objectives.base import Example, Image, Key, Keys, Memory, Metrics, Objective, Params
from jaxgen.objectives.distributions import log_normal
from jaxgen.objectives.variational import bounds, diagnosis
from jaxgen.objectives.variational.likelihoods import ObservationModel, build_observation_model

EARLY = 1000  # updates before which codes need not tell images apart
ADVICE = 'a lower optimizer.learning_rate, for T to keep up, or objective.adaptive_contrast'
LEAST = 1e-8  # variance of a dimension of q
MOMENTS = 1024  # draws that give r for a held-out image
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


@dataclass(frozen=True)
class ImplicitVAE:
  """q(z|x), p(x|z), and T between them; attributes as in `adversarial_variational_bayes`.

  The parameters of T are `judge`, those of all else are in `params`.
  """

  encoder: nn.Module
  sampler: nn.Module
  observed: ObservationModel
  discriminator: nn.Module
  latent: int
  noise: int
  adaptive_contrast: bool
  contrast_samples: int

  def features(self, params: Params, image: Image) -> jax.Array:
    """h."""
    return self.encoder.apply(params['encoder'], image)

  def draw(self, params: Params, h: jax.Array, key: Key) -> jax.Array:
    """z of q."""
    e = jax.random.normal(key, (self.noise,))
    return self.sampler.apply(params['sampler'], jnp.append(h, e))

  def gaussian(self, params: Params, h: jax.Array, key: Key) -> Gaussian:
    """The Gaussian with the moments of q."""
    keys = jax.random.split(key, self.contrast_samples)
    return moments(jax.vmap(partial(self.draw, params, h))(keys))

  def contrast(self, params: Params, h: jax.Array, key: Key) -> Gaussian:
    """r."""
    prior = jnp.zeros(self.latent), jnp.zeros(self.latent)
    return self.gaussian(params, h, key) if self.adaptive_contrast else prior

  def log_ratio_to_contrast(
    self, judge: Params, h: jax.Array, z: jax.Array, r: Gaussian
  ) -> jax.Array:
    """T(x, z), which stands for log q(z) - log r(z) in nats."""
    y = (z - r[0]) * jnp.exp(-0.5 * r[1])
    return self.discriminator.apply(judge, jnp.concatenate([h, y, y**2]))[0]

  def infer(self, params: Params, image: Image, key: Key) -> Gaussian:
    """The Gaussian with the moments of q(z|x)."""
    return self.gaussian(params, self.features(params, image), key)

  def encode(self, params: Params, image: Image, key: Key) -> jax.Array:
    """The mean of q(z|x)."""
    return self.infer(params, image, key)[0]

  def posterior(self, params: Params, image: Image, key: Key) -> Callable[[Key], tuple]:
    """Draws from the Gaussian with the moments of q, as q has no density."""
    return bounds.drawing(*self.infer(params, image, key))


def init(
  vae: ImplicitVAE,
  optimizer: optax.GradientTransformation,
  discriminator_optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  key: Key,
) -> tuple[Params, Memory]:
  """Parameters, and both optimizers' states."""
  keys = jax.random.split(key, 4)
  h, encoded = vae.encoder.init_with_output(keys[0], jnp.zeros(image_shape))
  model = {'encoder': encoded} | vae.observed.init(keys[1], jnp.zeros(vae.latent))
  model['sampler'] = vae.sampler.init(keys[2], jnp.append(h, jnp.zeros(vae.noise)))
  judge = vae.discriminator.init(keys[3], jnp.append(h, jnp.zeros(2 * vae.latent)))
  memory = {'model': optimizer.init(model), 'discriminator': discriminator_optimizer.init(judge)}
  return model | {'discriminator': judge}, memory


def judge_loss(
  vae: ImplicitVAE, params: Params, judge: Params, example: Example, key: Key
) -> tuple[jax.Array, Metrics]:
  """The discriminator's, of a sample of q and one of r."""
  keys = jax.random.split(key, 3)
  h = vae.features(params, example.image)
  r = vae.contrast(params, h, keys[0])
  z_q = vae.draw(params, h, keys[1])
  z_r = bounds.reparameterize(*r, jax.random.normal(keys[2], (vae.latent,)))
  of_q, of_r = (vae.log_ratio_to_contrast(judge, h, z, r) for z in (z_q, z_r))
  loss = discriminator_loss(of_q, of_r)
  return loss, {'accuracy': jnp.float32([of_q > 0.0, of_r < 0.0]).mean()}


def model_loss(
  vae: ImplicitVAE, judge: Params, params: Params, example: Example, key: Key
) -> tuple[jax.Array, Metrics]:
  """The bound at a sample of q, as the discriminator has it, with its sign changed."""
  keys = jax.random.split(key)
  h = vae.features(params, example.image)
  r = vae.contrast(*jax.lax.stop_gradient((params, h)), keys[0])
  return bound_at(vae, judge, params, example.image, h, r, keys[1])


def bound_at(
  vae: ImplicitVAE, judge: Params, params: Params, image: Image, h: jax.Array, r: Gaussian, key: Key
) -> tuple[jax.Array, Metrics]:
  """The same under a known r, of an image with features h."""
  z = vae.draw(params, h, key)
  kl = vae.log_ratio_to_contrast(judge, jax.lax.stop_gradient(h), z, r) + log_ratio_to_prior(z, r)
  error = -vae.observed.log_probability(params, image, z)
  name = f'reconstruction_{vae.observed.likelihood.measure}_nats'
  return error + kl, {name: error, 'adversarial_kl_nats': kl}


def update(
  vae: ImplicitVAE,
  optimizer: optax.GradientTransformation,
  discriminator_optimizer: optax.GradientTransformation,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """One step of the discriminator, then one of the model under it."""
  del step
  model = {name: part for name, part in params.items() if name != 'discriminator'}
  split = jax.vmap(jax.random.split)(keys)
  judge, judge_state, judged = base.descend(
    partial(judge_loss, vae, model),
    *(discriminator_optimizer, params['discriminator'], memory['discriminator']),
    *(examples, split[:, 0]),
  )
  model, state, metrics = base.descend(
    partial(model_loss, vae, judge),
    *(optimizer, model, memory['model'], examples, split[:, 1]),
  )
  memory = {'model': state, 'discriminator': judge_state}
  metrics |= base.prefix('discriminator', judged)
  return model | {'discriminator': judge}, memory, metrics


def evaluate(vae: ImplicitVAE, samples: int, params: Params, example: Example, key: Key) -> Metrics:
  """The bounds of the Gaussian with the moments of q, and what T says of q itself."""
  keys = jax.random.split(key, 3)
  exact = replace(vae, contrast_samples=max(vae.contrast_samples, MOMENTS))
  log_p = partial(vae.observed.log_probability, params, example.image)
  h = vae.features(params, example.image)
  q = exact.gaussian(params, h, keys[0])
  found = bounds.terms(log_p, *q, keys[1], samples)
  r = q if vae.adaptive_contrast else vae.contrast(params, h, keys[0])  # the prior draws nothing
  estimate = partial(bound_at, vae, params['discriminator'], params, example.image, h, r)
  losses, parts = jax.lax.map(estimate, jax.random.split(keys[2], samples))
  likelihood = vae.observed.likelihood
  return bounds.held_out(found, likelihood, example.image.size) | {
    f'adversarial_elbo_{likelihood.measure}_nats': -losses.mean(),
    'adversarial_kl_nats': parts['adversarial_kl_nats'].mean(),
  }


def diagnose(vae: ImplicitVAE, params: Params, examples: Example, key: Key) -> Metrics:
  """How many dimensions of the code tell images apart."""
  # Of one noise for all: where codes do not look at the image, they do not differ.
  codes = jax.vmap(vae.encode, in_axes=(None, 0, None))(params, examples.image, key)
  return diagnosis.activity(codes)


def warn(step: int, means: Mapping[str, float]) -> list[str]:
  """A sentence where the posterior has collapsed, after a while."""
  return diagnosis.warn(step, means, ADVICE) if step >= EARLY else []


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
  vae = ImplicitVAE(
    encoder, sampler, observed, discriminator, latent, noise, adaptive_contrast, contrast_samples
  )
  networks = {'encoder': encoder, 'sampler': sampler, 'decoder': observed.decoder}
  both = optimizer, discriminator_optimizer
  return Objective(
    partial(init, vae, *both, image_shape),
    partial(update, vae, *both),
    partial(evaluate, vae, importance_samples),
    partial(observed.sample, latent),
    vae.encode,
    observed.decode,
    figures={'reconstructions': figures.reconstructions(vae.encode, observed.decode)},
    diagnose=partial(diagnose, vae),
    networks=networks | {'discriminator': discriminator},
    warn=warn,
    joint=observed.joint(vae.posterior),
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
