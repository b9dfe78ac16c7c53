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
from jaxgen.objectives.variational.likelihoods import (
  ObservationModel,
  build_observation_model,
)

FEW = 0.1  # share of the codes; where fewer are in use, something is wrong
EARLY = 1000  # updates before which dead codes have yet to be split


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

  def init(key: Key) -> tuple[Params, Memory]:
    keys = jax.random.split(key, 4)
    vectors = jax.random.normal(keys[0], (codes, grid[2]))
    networks = {'encoder': encoder.init(keys[1], blank)} | observed.init(keys[2], jnp.zeros(grid))
    networks['prior'] = prior.init(keys[3], seen(vectors, jnp.zeros(grid[:2], jnp.int32)))
    even = codebook.Averages(jnp.full(codes, 1.0 / codes), vectors / codes)
    memory = {'optimizer': optimizer.init(networks), 'averages': even}
    return {'networks': networks, 'codebook': vectors}, memory

  def seen(vectors: jax.Array, index: jax.Array) -> jax.Array:
    """What the prior sees of a grid of indices."""
    return jnp.pad(vectors[index], ((0, 0), (0, 0), (0, 1)), constant_values=1.0)

  def log_prior(params: Params, index: jax.Array) -> jax.Array:
    logits = prior.apply(params['networks']['prior'], seen(params['codebook'], index))
    return log_categorical(index, logits)

  def quantise(params: Params, image: Image) -> tuple[jax.Array, jax.Array, jax.Array]:
    """z, k and e of an image."""
    z = encoder.apply(params['networks']['encoder'], image)
    index = codebook.nearest(params['codebook'], z)
    return z, index, params['codebook'][index]

  def terms(params: Params, image: Image, z: jax.Array, index: jax.Array) -> bounds.Terms:
    """Of the bound at the code `index`, which the decoder is given as z."""
    log_likelihood = observed.log_probability(params['networks'], image, z)
    log_p = log_prior(params, index)
    return bounds.Terms(log_likelihood[None], log_p[None], -log_p)

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    del step
    vectors = params['codebook']

    def loss(networks: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
      del key
      now = {'networks': networks, 'codebook': vectors}
      z, index, e = quantise(now, example.image)
      found = terms(now, example.image, codebook.straight_through(z, e), index)
      pull = codebook.commitment(z, e)
      bound = bounds.evidence_lower_bound(found.log_likelihoods, found.kl)
      metrics = bounds.parts(found, observed.likelihood) | {'commitment': pull}
      return commitment * pull - bound, metrics | {'codes': codebook.averages(index, z, codes)}

    networks, state, metrics = base.descend(
      loss, optimizer, params['networks'], memory['optimizer'], examples, keys
    )
    new = metrics.pop('codes')
    averages, dead = codebook.split(codebook.follow(memory['averages'], new, decay))
    params = {'networks': networks, 'codebook': codebook.centroids(averages, vectors)}
    metrics |= {'perplexity': codebook.perplexity(new.use), 'dead_codes': dead}
    return params, {'optimizer': state, 'averages': averages}, metrics

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    del key
    _, index, e = quantise(params, example.image)
    found = terms(params, example.image, e, index)
    return bounds.lower_bound(found, observed.likelihood, math.prod(image_shape))

  def diagnose(params: Params, examples: Example, key: Key) -> Metrics:
    """How many codes the images use, and how evenly, as the number of codes used alike."""
    del key
    index = jax.vmap(lambda image: quantise(params, image)[1])(examples.image)
    use = jax.nn.one_hot(index.ravel(), codes).mean(axis=0)
    used = jnp.sum(use > 0.0).astype(jnp.float32)
    return {'perplexity': codebook.perplexity(use), 'used_codes': used}

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    """The codes e, (h, w, D)."""
    del key
    return quantise(params, image)[2]

  def decode(params: Params, z: jax.Array, key: Key) -> Image:
    """The mean of p(x|z) of a grid (h, w, D), of codes or others."""
    return observed.decode(params['networks'], z, key)

  def sample(params: Params, label: Label, key: Key) -> Image:
    """Draws one code after the other, and decodes them."""
    del label

    def draw(index: jax.Array, turn: tuple[jax.Array, Key]) -> tuple[jax.Array, None]:
      place, key = turn
      grid_seen = seen(params['codebook'], index.reshape(grid[:2]))
      logits = prior.apply(params['networks']['prior'], grid_seen).reshape(-1, codes)
      return index.at[place].set(jax.random.categorical(key, logits[place])), None

    places = jnp.arange(math.prod(grid[:2]))
    turns = places, jax.random.split(key, len(places))
    index, _ = jax.lax.scan(draw, jnp.zeros_like(places), turns)
    return decode(params, params['codebook'][index.reshape(grid[:2])], key)

  def warn(step: int, means: Mapping[str, float]) -> list[str]:
    """A sentence where few codes are in use, after a while."""
    used = means.get('used_codes', codes)
    if step < EARLY or used >= FEW * codes:
      return []
    return [
      f'the codebook has collapsed: held-out images use {used:.0f} of its {codes} codes; try a '
      'lower objective.decay, a larger objective.commitment or fewer objective.codes'
    ]

  return Objective(
    init,
    update,
    evaluate,
    sample,
    encode,
    decode,
    figures={'reconstructions': figures.reconstructions(encode, decode)},
    diagnose=diagnose,
    networks={'encoder': encoder, 'decoder': observed.decoder, 'prior': prior},
    warn=warn,
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
