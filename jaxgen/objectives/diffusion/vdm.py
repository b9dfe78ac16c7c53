"""Variational diffusion model: a bound on the likelihood, noise and all (Kingma et al. 2021).

Symbols: z_t = a x + s eps with s^2 = sigmoid(gamma), a^2 = sigmoid(-gamma) and gamma(t) rising
linearly from gamma_0 to gamma_1, which are learned; eps_theta(z_t, gamma) the network. The bound is
prior + diffusion + reconstruction (eq. 11), here in bits per dimension.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, distributions, optimizers
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
from jaxgen.objectives.diffusion import editing, quantiles, samplers
from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion.denoiser import applied
from jaxgen.objectives.diffusion.path import TICKS
from jaxgen.objectives.diffusion.samplers import Descent
from jaxgen.objectives.diffusion.samplers.base import Denoise
from jaxgen.objectives.diffusion.trajectory import on_the_way, sampled, strata
from jaxgen.objectives.levels import Levels, log_categorical

GAMMA = -13.3, 5.0  # where the ends begin (app. H)
LEVELS = Levels(256)  # of a pixel
NEAR = 0.98  # of a noise, for a network that has not seen it
PATH = paths.vp()


def fourier_features(z: Image, exponents: tuple[int, ...]) -> Image:
  """(H, W, C) -> (H, W, C (1 + 2 n)): z, and sin and cos of 2^k 2 pi z (app. C)."""
  angles = [2.0**k * 2.0 * jnp.pi * z for k in exponents]
  return jnp.concatenate([z, *map(jnp.sin, angles), *map(jnp.cos, angles)], axis=-1)


def reconstruction(x: Image, z_0: Image, gamma_0: jax.Array) -> jax.Array:
  """-log p(x | z_0) in nats: each pixel's level among 256, by its distance (app. B)."""
  mean = z_0 * jnp.sqrt(1.0 + jnp.exp(gamma_0))  # z_0 / a
  greys = LEVELS.grey(jnp.arange(LEVELS.count))
  logits = -0.5 * jnp.exp(-gamma_0) * (mean[..., None] - greys[None, None, None]) ** 2
  return -log_categorical(LEVELS.index(x), logits)


def diffuse(x: Image, eps: Image, gamma: jax.Array) -> Image:
  """z = a x + s eps."""
  return jnp.sqrt(jax.nn.sigmoid(-gamma)) * x + jnp.sqrt(jax.nn.sigmoid(gamma)) * eps


@dataclass(frozen=True)
class FourierNoisePredictor:
  """eps_theta of a network that sees fine levels through Fourier features, and is told gamma.

  Attributes:
    network: (z with its features (H, W, C (1 + 2 n)), gamma on the scale of 1000) -> (H, W, C).
    features: their exponents.
    clip: whether the predicted x is clipped to [-1, 1] in sampling.
  """

  network: nn.Module
  features: tuple[int, ...]
  clip: bool

  def init(self, key: Key, image_shape: tuple[int, int, int]) -> Params:
    """Parameters for images (H, W, C), with the ends of gamma."""
    seen = fourier_features(jnp.zeros(image_shape), self.features)
    return {'network': self.network.init(key, seen, jnp.float32(0)), 'gamma': jnp.array(GAMMA)}

  def __call__(
    self, params: Params, z: Image, gamma: jax.Array, dropout: Key | None = None
  ) -> Image:
    """eps_theta(z, gamma); with a key as in training."""
    clock = TICKS * (gamma - GAMMA[0]) / (GAMMA[1] - GAMMA[0])
    seen = fourier_features(z, self.features), clock
    return applied(self.network, params['network'], *seen, key=dropout)

  def denoiser(self, params: Params, label: Label) -> Denoise:
    """z, t -> x, on the path `vp`."""
    del label

    def denoise(z: Image, t: jax.Array) -> Image:
      a, s = PATH.a(t), PATH.s(t)
      x = (z - s * self(params, z, -PATH.log_snr(t))) / a
      return jnp.clip(x, -1.0, 1.0) if self.clip else x

    return denoise


def diffusion_term(
  model: FourierNoisePredictor,
  params: Params,
  x: Image,
  dropout: Key | None,
  t: jax.Array,
  eps: Image,
) -> jax.Array:
  """gamma'(t) / 2 |eps - eps_theta|^2 in nats (eq. 17)."""
  first, last = params['gamma']
  gamma = first + t * (last - first)
  predicted = model(params, diffuse(x, eps, gamma), gamma, dropout)
  square = jnp.sum((eps - predicted) ** 2)
  return 0.5 * (last - first) * square


def ends(params: Params, x: Image, key: Key) -> tuple[jax.Array, jax.Array]:
  """KL(q(z_1 | x) || N(0, I)), and -log p(x | z_0) for one draw, in nats."""
  first, last = params['gamma']
  prior = distributions.normal_kl(
    jnp.sqrt(jax.nn.sigmoid(-last)) * x, jax.nn.sigmoid(last), jnp.float32(1)
  )
  z_0 = diffuse(x, jax.random.normal(key, x.shape), first)
  return prior, reconstruction(x, z_0, first)


def bound(
  model: FourierNoisePredictor,
  params: Params,
  x: Image,
  t: jax.Array,
  key: Key,
  dropout: Key | None = None,
) -> Metrics:
  """Its parts, for times (N,)."""
  bits = 1.0 / (x.size * np.log(2.0))
  first, second = jax.random.split(key)
  eps = jax.random.normal(first, (len(t), *x.shape))
  terms = jax.vmap(partial(diffusion_term, model, params, x, dropout))(t, eps)
  prior, surprise = ends(params, x, second)
  return {
    'bits_per_dimension': bits * (prior + terms.mean() + surprise),
    'prior_bits_per_dimension': bits * prior,
    'diffusion_bits_per_dimension': bits * terms.mean(),
    'reconstruction_bits_per_dimension': bits * surprise,
  }


def loss(
  model: FourierNoisePredictor, params: Params, example: Example, key: Key, t: jax.Array
) -> tuple[jax.Array, Metrics]:
  """The bound at one time."""
  bound_key, dropout = (jax.random.fold_in(key, use) for use in (1, 2))
  found = bound(model, params, example.image, t[None], bound_key, dropout)
  return found['bits_per_dimension'], found


def update(
  model: FourierNoisePredictor,
  optimizer: optax.GradientTransformation,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """A step down the bound, with times that the batch shares out."""
  del step
  t = quantiles.drawn(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), stratified=True)
  learn = partial(base.descend, partial(loss, model), optimizer)
  params, memory, metrics = learn(params, memory, examples, keys, t)
  return params, memory, metrics | dict(zip(('gamma_0', 'gamma_1'), params['gamma'], strict=True))


def vdm(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  descent: Descent,
  features: tuple[int, ...] = (6, 7),
  clip: bool = True,
  times: int = 8,
) -> Objective:
  """A diffusion model that minimises its bound, and learns where its noise begins and ends.

  Args:
    network: eps_theta, (z with its features (H, W, C (1 + 2 n)), gamma on the scale of 1000)
      -> (H, W, C).
    optimizer: of the network and of the ends.
    image_shape: (H, W, C).
    descent: the sampler on a grid of the path `vp`, of which it needs the noise alone.
    features: exponents of the Fourier features, without which fine levels are hard to see.
    clip: whether the predicted x is clipped to [-1, 1] in sampling.
    times: times at which `evaluate` looks, one from each of so many equal strata.

  Raises:
    ValueError: no times.
  """
  if times < 1:
    raise ValueError(f'evaluation.times={times} must be at least 1')
  model = FourierNoisePredictor(network, features, clip)
  trajectory = descent.trajectory(model.denoiser, image_shape)

  def init(key: Key) -> tuple[Params, Memory]:
    params = model.init(key, image_shape)
    return params, optimizer.init(params)

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    first, second = jax.random.split(key)
    return bound(model, params, example.image, strata(first, times) / times, second)

  return Objective(
    init,
    partial(update, model, optimizer),
    evaluate,
    sampled(trajectory),
    figures={'denoising': on_the_way(trajectory, descent.steps)},
    networks={'denoiser': network},
    **editing.abilities(model.denoiser, descent),
  )


def warn(low: float, high: float, step: int, means: Mapping[str, float]) -> list[str]:
  """A sentence where a sampler's grid, of sigma from `high` to `low`, leaves what was learned."""
  del step
  if not {'gamma_0', 'gamma_1'} <= means.keys():
    return []
  first, last = (np.exp(0.5 * means[end]) for end in ('gamma_0', 'gamma_1'))
  if NEAR * first <= low and high <= last / NEAR:
    return []
  return [
    'the sampler asks for noise that is not learned any more: set sampler.sigma_min above '
    'exp(gamma_0 / 2) and sampler.sigma_max below exp(gamma_1 / 2)'
  ]


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  fields = config.sampler.to_dict()
  clip = fields.pop('clip')
  network = base.arguments(config.network) | {'output_channels': facts.image_shape[-1]}
  objective = vdm(
    find_network(config.network.name, 'Denoiser')(**network),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    samplers.find(PATH, **fields),
    **base.arguments(config.objective),
    clip=clip,
    times=config.evaluation.times,
  )
  ends = config.sampler.sigma_min, config.sampler.sigma_max
  return objective._replace(warn=partial(warn, *ends)) if all(ends) else objective
