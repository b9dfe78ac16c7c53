"""VQ-VAE (van den Oord et al. 2017) and, trained beside it, an autoregressive prior of its codes.

Symbols: x image, z(x) a grid of vectors from the encoder, e the codebook's nearest to each, k the
grid of their indices, p(x|e) the decoder's likelihood. One loss of two parts:

  -log p(x | z + sg(e - z)) + commitment |z - sg(e)|^2    of encoder and decoder (eq. 3),
  -log p(k), with k as it is                              of the prior.

Their gradients do not touch: indices pass none, and the prior has parameters of its own. So it is
trained in the same run, on codes that settle as it learns, and not after it as in the paper; and a
sample is k from the prior, decoded. The codebook has no gradient and follows the encodings, see
`codebook`. As q(k|x) is certain of its k, the KL of the bound is -log p(k), in nats.
"""

import math
from collections.abc import Mapping
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
from jaxgen.objectives.levels import log_categorical
from jaxgen.objectives.variational import bounds, codebook
from jaxgen.objectives.variational.likelihoods import ObservationModel, build_observation_model

FEW = 0.1  # share of the codes; where fewer are in use, something is wrong
EARLY = 1000  # updates before which dead codes have yet to be split


@dataclass(frozen=True)
class VQVAE:
  """Encoder, decoder and prior of a grid of codes.

  Attributes:
    encoder: image -> (h, w, D).
    observed: p(x|e), of e (h, w, D).
    prior: (h, w, D + 1) -> logits (h, w, codes), see `vq_vae`.
    codes: K, how many vectors the codebook has.
    grid: (h, w, D).
  """

  encoder: nn.Module
  observed: ObservationModel
  prior: nn.Module
  codes: int
  grid: tuple[int, int, int]

  def init(self, key: Key, image_shape: tuple[int, int, int]) -> Params:
    """Parameters for images (H, W, C)."""
    keys = jax.random.split(key, 4)
    vectors = jax.random.normal(keys[0], (self.codes, self.grid[2]))
    networks = {'encoder': self.encoder.init(keys[1], jnp.zeros(image_shape))}
    networks |= self.observed.init(keys[2], jnp.zeros(self.grid))
    first = seen(vectors, jnp.zeros(self.grid[:2], jnp.int32))
    return {
      'networks': networks | {'prior': self.prior.init(keys[3], first)},
      'codebook': vectors,
    }

  def quantise(self, params: Params, image: Image) -> tuple[jax.Array, jax.Array, jax.Array]:
    """z, k and e of an image."""
    z = self.encoder.apply(params['networks']['encoder'], image)
    index = codebook.nearest(params['codebook'], z)
    return z, index, params['codebook'][index]

  def logits(self, params: Params, index: jax.Array) -> jax.Array:
    """Of the code at each place of a grid of indices, (h, w, codes)."""
    return self.prior.apply(params['networks']['prior'], seen(params['codebook'], index))

  def terms(self, params: Params, image: Image, z: jax.Array, index: jax.Array) -> bounds.Terms:
    """Of the bound at the code `index`, which the decoder is given as z."""
    log_likelihood = self.observed.log_probability(params['networks'], image, z)
    log_p = log_categorical(index, self.logits(params, index))
    return bounds.Terms(log_likelihood[None], log_p[None], -log_p)

  def encode(self, params: Params, image: Image, key: Key) -> jax.Array:
    """The codes e, (h, w, D)."""
    del key
    return self.quantise(params, image)[2]

  def decode(self, params: Params, z: jax.Array, key: Key) -> Image:
    """The mean of p(x|z) of a grid (h, w, D), of codes or others."""
    return self.observed.decode(params['networks'], z, key)

  def sample(self, params: Params, label: Label, key: Key) -> Image:
    """Draws one code after the other, and decodes them."""
    del label

    def draw(index: jax.Array, turn: tuple[jax.Array, Key]) -> tuple[jax.Array, None]:
      place, key = turn
      logits = self.logits(params, index.reshape(self.grid[:2])).reshape(-1, self.codes)
      return index.at[place].set(jax.random.categorical(key, logits[place])), None

    places = jnp.arange(math.prod(self.grid[:2]))
    turns = places, jax.random.split(key, len(places))
    index, _ = jax.lax.scan(draw, jnp.zeros_like(places), turns)
    return self.decode(params, params['codebook'][index.reshape(self.grid[:2])], key)


def seen(vectors: jax.Array, index: jax.Array) -> jax.Array:
  """What the prior sees of a grid of indices."""
  return jnp.pad(vectors[index], ((0, 0), (0, 0), (0, 1)), constant_values=1.0)


def loss(
  model: VQVAE, commitment: float, vectors: jax.Array, networks: Params, example: Example, key: Key
) -> tuple[jax.Array, Metrics]:
  """Both parts of the loss, given the codebook, and which codes the image uses."""
  del key
  params = {'networks': networks, 'codebook': vectors}
  z, index, e = model.quantise(params, example.image)
  found = model.terms(params, example.image, codebook.straight_through(z, e), index)
  pull = codebook.commitment(z, e)
  bound = bounds.evidence_lower_bound(found.log_likelihoods, found.kl)
  metrics = bounds.parts(found, model.observed.likelihood) | {'commitment': pull}
  return commitment * pull - bound, metrics | {'codes': codebook.averages(index, z, model.codes)}


def update(
  model: VQVAE,
  optimizer: optax.GradientTransformation,
  commitment: float,
  decay: float,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """A step of the networks, after which the codebook follows the encodings.

  The first one's averages are those of the codebook, which may be of another run.
  """
  learn = partial(base.descend, partial(loss, model, commitment, params['codebook']), optimizer)
  networks, state, metrics = learn(params['networks'], memory['optimizer'], examples, keys)
  new = metrics.pop('codes')
  before = jax.tree.map(
    lambda first, known: jnp.where(step == 0, first, known),
    codebook.even(params['codebook']),
    memory['averages'],
  )
  averages, dead = codebook.split(codebook.follow(before, new, decay))
  vectors = codebook.centroids(averages, params['codebook'])
  metrics |= {'perplexity': codebook.perplexity(new.use), 'dead_codes': dead}
  params = {'networks': networks, 'codebook': vectors}
  return params, {'optimizer': state, 'averages': averages}, metrics


def evaluate(model: VQVAE, params: Params, example: Example, key: Key) -> Metrics:
  """The bound of a held-out image."""
  del key
  _, index, e = model.quantise(params, example.image)
  found = model.terms(params, example.image, e, index)
  return bounds.lower_bound(found, model.observed.likelihood, example.image.size)


def diagnose(model: VQVAE, params: Params, examples: Example, key: Key) -> Metrics:
  """How many codes the images use, and how evenly, as the number of codes used alike."""
  del key
  index = jax.vmap(lambda image: model.quantise(params, image)[1])(examples.image)
  use = jax.nn.one_hot(index.ravel(), model.codes).mean(axis=0)
  used = jnp.sum(use > 0.0).astype(jnp.float32)
  return {'perplexity': codebook.perplexity(use), 'used_codes': used}


def warn(codes: int, step: int, means: Mapping[str, float]) -> list[str]:
  """A sentence where few codes are in use, after a while."""
  used = means.get('used_codes', codes)
  if step < EARLY or used >= FEW * codes:
    return []
  return [
    f'the codebook has collapsed: held-out images use {used:.0f} of its {codes} codes; try a '
    'lower objective.decay, a larger objective.commitment or fewer objective.codes'
  ]


def vq_vae(
  encoder: nn.Module,
  observed: ObservationModel,
  prior: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  codes: int,
  commitment: float = 0.25,
  decay: float = 0.99,
) -> Objective:
  """A grid of codes for an image, and a probability of that grid.

  Args:
    encoder: image -> (h, w, D).
    observed: p(x|e), of e (h, w, D).
    prior: (h, w, D + 1), the codes and a one that tells where their grid ends -> (h, w, codes),
      logits of the code at each place, of which it sees those before it alone, in reading order.
    optimizer: of all three networks.
    image_shape: (H, W, C).
    codes: K, how many vectors the codebook has.
    commitment: weight of the pull of encodings towards their codes, beta in the paper.
    decay: of the averages that the codebook follows; 0 for the batch's own.

  Raises:
    ValueError: a number out of its range, or images that the networks do not fit.
  """
  if codes < 2 or commitment <= 0.0 or not 0.0 <= decay < 1.0:
    raise ValueError(
      f'objective.codes={codes} must be at least 2, objective.commitment={commitment} above 0 and '
      f'objective.decay={decay} in [0, 1)'
    )
  blank = jnp.zeros(image_shape)
  grid = jax.eval_shape(encoder.init_with_output, jax.random.key(0), blank)[0].shape
  model = VQVAE(encoder, observed, prior, codes, grid)

  def init(key: Key) -> tuple[Params, Memory]:
    params = model.init(key, image_shape)
    averages = codebook.even(params['codebook'])
    return params, {'optimizer': optimizer.init(params['networks']), 'averages': averages}

  return Objective(
    init,
    partial(update, model, optimizer, commitment, decay),
    partial(evaluate, model),
    model.sample,
    model.encode,
    model.decode,
    figures={'reconstructions': figures.reconstructions(model.encode, model.decode)},
    diagnose=partial(diagnose, model),
    networks={'encoder': encoder, 'decoder': observed.decoder, 'prior': prior},
    warn=partial(warn, codes),
    of_noise=False,
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The VQ-VAE that a config describes."""
  observed, fields = build_observation_model(config, facts, 'GridDecoder')
  codes, dtype = fields['codes'], config.network.dtype
  return vq_vae(
    build_network(config, 'GridEncoder', fields.pop('latent')),
    observed,
    build_network(config, 'Predictor', codes, section='prior', dtype=dtype),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **fields,
  )
