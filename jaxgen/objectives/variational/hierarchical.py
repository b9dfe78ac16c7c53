"""Hierarchical VAE: a ladder of layers (Sønderby et al. 2016) with residual posteriors (NVAE).

Symbols: x image; z_1 ... z_L the layers of the code from the top down; p(z_l | z_<l) a Gaussian
around m_l(z_<l) with deviation s_l(z_<l), of which p(z_1) = N(0, I); p(x|z) sees all layers. The
posterior takes the same way down, and says how far each layer is from its prior, as its networks
dm and ds find it in z_<l and in features of x (Vahdat & Kautz 2020, sec. 3.2; dm in units of s_l):

  q(z_l | z_<l, x) = N(m_l + s_l dm, (s_l ds)^2).

In e_l = (z_l - m_l) / s_l, which together make z, this is q = N(dm, ds^2) under p = N(0, I), with
the KL of any VAE: (dm^2 + ds^2 - 2 log ds - 1) / 2. So the code that is encoded and decoded is
e = (e_1, ..., e_L), and with one layer this is the VAE. Logarithms are natural, bounds in nats.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

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
from jaxgen.objectives.distributions import gaussian_kl, log_normal
from jaxgen.objectives.variational import bounds, diagnosis, estimators
from jaxgen.objectives.variational.likelihoods import (
  ObservationModel,
  build_observation_model,
)

Gaussian = tuple[jax.Array, jax.Array]  # means and log variances, (layers, latent) each


class Ladder(NamedTuple):
  """The layers of a code, from the top down.

  Attributes:
    init: features (F,), key -> params of the priors and posteriors.
    infer: params, features (F,), noise (layers, latent) -> z (layers latent,), its e, and mean and
      log variance of q(e_l | z_<l, x), (layers, latent) each.
    generate: params, e (layers, latent) -> z (layers latent,).
  """

  init: Callable[[jax.Array, Key], Params]
  infer: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, ...]]
  generate: Callable[[Params, jax.Array], jax.Array]


def ladder(block: nn.Module, latent: int, layers: int) -> Ladder:
  """Priors and posteriors of so many layers, each by a network of its own.

  Args:
    block: vector -> (2 latent,), mean and log variance: of a prior from z_<l, of a posterior from
      the features and z_<l.
    latent: dimension of each layer.
    layers: L.
  """

  def init(features: jax.Array, key: Key) -> Params:
    keys = jax.random.split(key, (layers, 2))
    params = {}
    for layer in range(layers):
      above = jnp.zeros(layer * latent)
      seen = jnp.concatenate([features, above])
      params[f'posterior_{layer + 1}'] = block.init(keys[layer, 0], seen)
      if layer:
        params[f'prior_{layer + 1}'] = block.init(keys[layer, 1], above)
    return params

  def place(params: Params, layer: int, above: jax.Array, e: jax.Array) -> jax.Array:
    """z_<l and z_l = m_l + s_l e_l, from z_<l and e_l."""
    if layer:
      prior = jnp.split(block.apply(params[f'prior_{layer + 1}'], above), 2)
      e = bounds.reparameterize(*prior, e)
    return jnp.concatenate([above, e])

  def infer(params: Params, features: jax.Array, noise: jax.Array) -> tuple[jax.Array, ...]:
    z, found = jnp.zeros(0), []
    for layer in range(layers):
      seen = jnp.concatenate([features, z])
      q = jnp.split(block.apply(params[f'posterior_{layer + 1}'], seen), 2)
      e = bounds.reparameterize(*q, noise[layer])
      z = place(params, layer, z, e)
      found.append((e, *q))
    return z, *map(jnp.stack, zip(*found, strict=True))

  def generate(params: Params, code: jax.Array) -> jax.Array:
    z = jnp.zeros(0)
    for layer in range(layers):
      z = place(params, layer, z, code[layer])
    return z

  return Ladder(init, infer, generate)


def layer_kl(mean: jax.Array, log_variance: jax.Array) -> Metrics:
  """The KL of each layer in nats, from q(e_l | z_<l, x), (layers, latent) each."""
  kl = jax.vmap(gaussian_kl)(mean, log_variance)
  return {f'layer_{layer}/kl_nats': value for layer, value in enumerate(kl, 1)}


def hierarchical(
  encoder: nn.Module,
  block: nn.Module,
  observed: ObservationModel,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  latent: int,
  layers: int,
  beta: float = 1.0,
  free_bits: float = 0.0,
  warm_up_steps: int = 0,
  importance_samples: int = 10,
) -> Objective:
  """A VAE whose code has layers.

  Args:
    encoder: image -> the features that all posteriors see, a vector.
    block: the network of a prior or a posterior, see `ladder`.
    observed: p(x|z), of z (layers latent,).
    optimizer: of all networks together.
    image_shape: (H, W, C).
    latent: dimension of each layer.
    layers: L.
    beta: weight of the KL term; 1 is the bound on log p(x).
    free_bits: nats of each dimension's KL, averaged over the batch, that are not worth saving.
    warm_up_steps: updates over which beta rises linearly from 0.
    importance_samples: K of the importance-weighted bound in `evaluate`, and in its name.

  Raises:
    ValueError: hyperparameters that do not go together.
  """
  if layers < 1:
    raise ValueError(f'objective.layers={layers} must be at least 1')
  estimators.require_fitting('elbo', 'naive', free_bits)
  beta_at = estimators.warm_up(beta, warm_up_steps)
  steps = ladder(block, latent, layers)

  def init(key: Key) -> tuple[Params, Memory]:
    keys = jax.random.split(key, 3)
    blank = jnp.zeros(image_shape)
    params = {'encoder': encoder.init(keys[0], blank)} | observed.init(
      keys[1], jnp.zeros(layers * latent)
    )
    params['ladder'] = steps.init(encoder.apply(params['encoder'], blank), keys[2])
    return params, optimizer.init(params)

  def infer(params: Params, image: Image, noise: jax.Array) -> tuple[jax.Array, ...]:
    features = encoder.apply(params['encoder'], image)
    return steps.infer(params['ladder'], features, noise)

  def terms(
    params: Params, image: Image, noise: jax.Array
  ) -> tuple[jax.Array, jax.Array, Gaussian]:
    """Of one sample: log p(x|z), log p(z) - log q(z|x), and the layers' q(e_l | z_<l, x)."""
    z, code, *q = infer(params, image, noise)
    standard = jnp.zeros_like(code)
    log_ratio = log_normal(code, standard, standard) - log_normal(code, *q)
    return observed.log_probability(params, image, z), log_ratio, tuple(q)

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    weight = beta_at(step)

    def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
      noise = jax.random.normal(key, (layers, latent))
      log_likelihood, log_ratio, q = terms(params, example.image, noise)
      found = bounds.Terms(log_likelihood[None], log_ratio[None], gaussian_kl(*q))
      kl = estimators.batch_kl(*map(jnp.ravel, q), free_bits) if free_bits else found.kl
      bound = bounds.evidence_lower_bound(found.log_likelihoods, kl, weight)
      return -bound, bounds.parts(found, observed.likelihood) | layer_kl(*q)

    return base.descend(loss, optimizer, params, memory, examples, keys)

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    noise = jax.random.normal(key, (importance_samples, layers, latent))
    log_likelihoods, log_ratios, q = jax.lax.map(
      partial(terms, params, example.image), noise, batch_size=bounds.AT_ONCE
    )
    found = bounds.Terms(log_likelihoods, log_ratios, jax.vmap(gaussian_kl)(*q).mean())
    by_layer = base.means(jax.vmap(layer_kl)(*q))
    return bounds.held_out(found, observed.likelihood, math.prod(image_shape)) | by_layer

  def diagnose(params: Params, examples: Example, key: Key) -> Metrics:
    """How active each layer is, at the code that an image is encoded to."""
    codes = jax.vmap(lambda image: encode(params, image, key))(examples.image)
    found = {}
    for layer, part in enumerate(jnp.split(codes, layers, axis=1), 1):
      found |= base.prefix(f'layer_{layer}', diagnosis.activity(part))
    return found

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    """e (layers latent,), each layer at the mean of its posterior given those above."""
    del key
    return infer(params, image, jnp.zeros((layers, latent)))[1].ravel()

  def decode(params: Params, code: jax.Array, key: Key) -> Image:
    """The mean of p(x|z), from e (layers latent,)."""
    z = steps.generate(params['ladder'], code.reshape(layers, latent))
    return observed.decode(params, z, key)

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return decode(params, jax.random.normal(key, (layers * latent,)), key)

  def by_depth(params: Params, examples: Example, key: Key) -> jax.Array:
    """Each row: an image, and what its first 1 ... L layers say, those below as they expect."""

    def row(image: Image) -> jax.Array:
      code = encode(params, image, key)
      known = [code.at[depth * latent :].set(0.0) for depth in range(1, layers + 1)]
      return jnp.stack([image, *(decode(params, part, key) for part in known)])

    return jax.vmap(row)(examples.image)

  return Objective(
    init,
    update,
    evaluate,
    sample,
    encode,
    decode,
    figures={'reconstructions': figures.reconstructions(encode, decode), 'by_depth': by_depth},
    diagnose=diagnose,
    networks={'encoder': encoder, 'block': block, 'decoder': observed.decoder},
    warn=diagnosis.warn,
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The ladder that a config describes."""
  observed, fields = build_observation_model(config, facts)
  width = fields.pop('width')
  return hierarchical(
    build_network(config, 'Encoder', width),
    mlp.Encoder(2 * fields['latent'], (width,), dtype=config.network.dtype),
    observed,
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **fields,
    importance_samples=config.evaluation.importance_samples,
  )
