"""Hierarchical VAE: a ladder of layers (Sønderby et al. 2016) with residual posteriors (NVAE).

Symbols: x image; z_1 ... z_L the layers of the code from the top down; p(z_l | z_<l) a Gaussian
around m_l(z_<l) with deviation s_l(z_<l), of which p(z_1) = N(0, I); p(x|z) sees all layers. The
posterior takes the same way down, and says how far each layer is from its prior, as its networks
dm and ds find it in z_<l and in features of x (Vahdat & Kautz 2020, sec. 3.2; dm in units of s_l):

  q(z_l | z_<l, x) = N(m_l + s_l dm, (s_l ds)^2).

In e_l = (z_l - m_l) / s_l, which together make z, this is q = N(dm, ds^2) under p = N(0, I), with
the KL of any VAE: (dm^2 + ds^2 - 2 log ds - 1) / 2. So the code that is encoded and decoded is
e = (e_1, ..., e_L), and with one layer this is the VAE. Logarithms are natural, bounds in nats.

What the layers are, and how they are found, is the ladder's: here vectors, of one length; in `nvae`
images of several sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import build_network, mlp
from jaxgen.objectives import base, figures, optimizers
from jaxgen.objectives.base import (
  Example,
  Image,
  Joint,
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
from jaxgen.objectives.variational.ladder import Ladder, vector_ladder
from jaxgen.objectives.variational.likelihoods import ObservationModel, build_observation_model

Gaussian = tuple[jax.Array, jax.Array]  # means and log variances, (codes,) each


@dataclass(frozen=True)
class HierarchicalVAE:
  """p(x|z) and a ladder of codes, with what that sees of an image.

  Attributes:
    encoder: image -> what all posteriors see of it, as the ladder takes it.
    ladder: of the codes.
    observed: p(x|z), of z as the ladder has it.
  """

  encoder: nn.Module
  ladder: Ladder
  observed: ObservationModel

  def init(self, key: Key, image_shape: tuple[int, int, int]) -> Params:
    """Parameters for images (H, W, C)."""
    keys = jax.random.split(key, 3)
    features, encoded = self.encoder.init_with_output(keys[0], jnp.zeros(image_shape))
    steps = self.ladder.init(features, keys[2])
    z = jax.eval_shape(self.ladder.generate, steps, jnp.zeros(self.ladder.codes))
    params = self.observed.init(keys[1], jnp.zeros(z.shape, z.dtype))
    return params | {'encoder': encoded, 'ladder': steps}

  def infer(self, params: Params, image: Image, noise: jax.Array) -> tuple[jax.Array, ...]:
    """z, its e, and mean and log variance of q(e_l | z_<l, x), as the ladder has them."""
    features = self.encoder.apply(params['encoder'], image)
    return self.ladder.infer(params['ladder'], features, noise)

  def terms(
    self, params: Params, image: Image, noise: jax.Array
  ) -> tuple[jax.Array, jax.Array, Gaussian]:
    """Of one sample: log p(x|z), log p(z) - log q(z|x), and the layers' q(e_l | z_<l, x)."""
    z, code, *q = self.infer(params, image, noise)
    standard = jnp.zeros_like(code)
    log_ratio = log_normal(code, standard, standard) - log_normal(code, *q)
    return self.observed.log_probability(params, image, z), log_ratio, tuple(q)

  def posterior(self, params: Params, image: Image, key: Key) -> Callable[[Key], tuple]:
    """Draws e of q(e|x), with its log density."""
    del key
    features = self.encoder.apply(params['encoder'], image)

    def draw(key: Key) -> tuple[jax.Array, jax.Array]:
      noise = jax.random.normal(key, (self.ladder.codes,))
      _, code, *q = self.ladder.infer(params['ladder'], features, noise)
      return code, log_normal(code, *q)

    return draw

  def log_probability(self, params: Params, image: Image, code: jax.Array) -> jax.Array:
    """log p(x|z) in nats, of e (codes,)."""
    z = self.ladder.generate(params['ladder'], code)
    return self.observed.log_probability(params, image, z)

  def draw(self, params: Params, code: jax.Array, key: Key) -> Image:
    """A sample of p(x|z), from e (codes,)."""
    return self.observed.draw(params, self.ladder.generate(params['ladder'], code), key)

  def encode(self, params: Params, image: Image, key: Key) -> jax.Array:
    """e (codes,), each layer at the mean of its posterior given those above."""
    del key
    return self.infer(params, image, jnp.zeros(self.ladder.codes))[1]

  def decode(self, params: Params, code: jax.Array, key: Key) -> Image:
    """The mean of p(x|z), from e (codes,)."""
    return self.observed.decode(params, self.ladder.generate(params['ladder'], code), key)


def layer_kl(ladder: Ladder, mean: jax.Array, log_variance: jax.Array) -> Metrics:
  """The KL of each layer in nats, from q(e_l | z_<l, x), (codes,) each."""
  layers = zip(ladder.split(mean), ladder.split(log_variance), strict=True)
  return {f'layer_{layer}/kl_nats': gaussian_kl(*q) for layer, q in enumerate(layers, 1)}


def loss(
  vae: HierarchicalVAE,
  free_bits: float,
  beta: jax.Array,
  params: Params,
  example: Example,
  key: Key,
) -> tuple[jax.Array, Metrics]:
  """The bound at one sample, with its sign changed, and its parts."""
  noise = jax.random.normal(key, (vae.ladder.codes,))
  log_likelihood, log_ratio, q = vae.terms(params, example.image, noise)
  found = bounds.Terms(log_likelihood[None], log_ratio[None], gaussian_kl(*q))
  kl = estimators.batch_kl(*q, free_bits) if free_bits else found.kl
  bound = bounds.evidence_lower_bound(found.log_likelihoods, kl, beta)
  return -bound, bounds.parts(found, vae.observed.likelihood) | layer_kl(vae.ladder, *q)


def update(
  vae: HierarchicalVAE,
  optimizer: optax.GradientTransformation,
  free_bits: float,
  beta_at: Callable[[jax.Array], jax.Array],
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """A step up the bound, with the beta of its time."""
  learn = partial(base.descend, partial(loss, vae, free_bits, beta_at(step)), optimizer)
  return learn(params, memory, examples, keys)


def evaluate(
  vae: HierarchicalVAE, samples: int, params: Params, example: Example, key: Key
) -> Metrics:
  """The bounds of a held-out image, and the KL of each layer."""
  noise = jax.random.normal(key, (samples, vae.ladder.codes))
  log_likelihoods, log_ratios, q = jax.lax.map(
    partial(vae.terms, params, example.image), noise, batch_size=bounds.AT_ONCE
  )
  found = bounds.Terms(log_likelihoods, log_ratios, jax.vmap(gaussian_kl)(*q).mean())
  by_layer = base.means(jax.vmap(partial(layer_kl, vae.ladder))(*q))
  return bounds.held_out(found, vae.observed.likelihood, example.image.size) | by_layer


def diagnose(vae: HierarchicalVAE, params: Params, examples: Example, key: Key) -> Metrics:
  """How active each layer is, at the code that an image is encoded to."""
  codes = jax.vmap(lambda image: vae.encode(params, image, key))(examples.image)
  found = {}
  for layer, part in enumerate(vae.ladder.split(codes), 1):
    found |= base.prefix(f'layer_{layer}', diagnosis.activity(part))
  return found


def sample(vae: HierarchicalVAE, params: Params, label: Label, key: Key) -> Image:
  """The mean of p(x|z) at an e of N(0, I)."""
  del label
  return vae.decode(params, jax.random.normal(key, (vae.ladder.codes,)), key)


def by_depth(vae: HierarchicalVAE, params: Params, examples: Example, key: Key) -> jax.Array:
  """Each row: an image, and what its first 1 ... L layers say, those below as they expect."""
  known = np.arange(vae.ladder.codes) < vae.ladder.ends[:, None]

  def row(image: Image) -> jax.Array:
    code = jnp.where(known, vae.encode(params, image, key)[None], 0.0)
    said = jax.vmap(lambda part: vae.decode(params, part, key))(code)
    return jnp.concatenate([image[None], said])

  return jax.vmap(row)(examples.image)


def hierarchical(
  encoder: nn.Module,
  ladder: Ladder,
  observed: ObservationModel,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  beta: float = 1.0,
  free_bits: float = 0.0,
  warm_up_steps: int = 0,
  importance_samples: int = 10,
) -> Objective:
  """A VAE whose code has layers.

  Args:
    encoder: image -> what all posteriors see of it, as the ladder takes it.
    ladder: of the codes.
    observed: p(x|z), of z as the ladder has it.
    optimizer: of all networks together.
    image_shape: (H, W, C).
    beta: weight of the KL term; 1 is the bound on log p(x).
    free_bits: nats of each dimension's KL, averaged over the batch, that are not worth saving.
    warm_up_steps: updates over which beta rises linearly from 0.
    importance_samples: K of the importance-weighted bound in `evaluate`, and in its name.

  Raises:
    ValueError: hyperparameters that do not go together.
  """
  estimators.require_fitting('elbo', 'naive', free_bits)
  beta_at = estimators.warm_up(beta, warm_up_steps)
  vae = HierarchicalVAE(encoder, ladder, observed)
  shown = {'reconstructions': figures.reconstructions(vae.encode, vae.decode)}

  def init(key: Key) -> tuple[Params, Memory]:
    params = vae.init(key, image_shape)
    return params, optimizer.init(params)

  return Objective(
    init,
    partial(update, vae, optimizer, free_bits, beta_at),
    partial(evaluate, vae, importance_samples),
    partial(sample, vae),
    vae.encode,
    vae.decode,
    figures=shown | {'by_depth': partial(by_depth, vae)},
    diagnose=partial(diagnose, vae),
    networks={'encoder': encoder, **ladder.networks, 'decoder': observed.decoder},
    warn=diagnosis.warn,
    joint=Joint(observed.likelihood.measure, vae.log_probability, vae.draw, vae.posterior),
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The ladder of vectors that a config describes."""
  observed, fields = build_observation_model(config, facts)
  width, latent, layers = (fields.pop(name) for name in ('width', 'latent', 'layers'))
  block = mlp.Encoder(2 * latent, (width,), dtype=config.network.dtype)
  return hierarchical(
    build_network(config, 'Encoder', width),
    vector_ladder(block, latent, layers),
    observed,
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **fields,
    importance_samples=config.evaluation.importance_samples,
  )
