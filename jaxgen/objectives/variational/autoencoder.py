"""Autoencoder, plain or denoising, with a Gaussian of its codes to sample from.

Symbols: x image, z = e(x) its code, d the decoder. The loss is |x - d(e(y))|^2, y = x in the plain
one and a corrupted x in the denoising one (Vincent et al. 2008), whose optimum for Gaussian noise
is E[x | y], from which the score of the noisy images is known (Alain & Bengio 2014). An autoencoder
is no law of images; `sample` decodes codes of the Gaussian that has the mean and covariance of the
codes of the images seen: an ex-post density (Ghosh et al. 2020, sec. 4), fitted beside the
training, in which it has no part.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
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

RATE = 0.01  # at which a batch's moments of the codes replace those of the batches before
BLACK = -1.0  # the value of a masked pixel


def corrupt(image: Image, key: Key, noise: float, mask: float) -> Image:
  """Gaussian noise of this deviation; then each number is black with probability `mask`."""
  noise_key, mask_key = jax.random.split(key)
  noisy = image + noise * jax.random.normal(noise_key, image.shape)
  return jnp.where(jax.random.bernoulli(mask_key, mask, image.shape), BLACK, noisy)


def coloured(moments: Params, white: jax.Array) -> jax.Array:
  """A vector of N(0, I) as one of the Gaussian with these moments: (latent,) -> (latent,).

  By eigenvectors, as codes may fill fewer dimensions than they have.
  """
  mean = moments['first']
  variances, axes = jnp.linalg.eigh(moments['second'] - jnp.outer(mean, mean))
  return mean + axes @ (jnp.sqrt(jnp.maximum(variances, 0.0)) * white)


def autoencoder(
  encoder: nn.Module,
  decoder: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  latent: int,
  noise: float = 0.0,
  mask: float = 0.0,
) -> Objective:
  """An encoder and a decoder under squared error, and the moments of the codes.

  Args:
    encoder: image -> (latent,).
    decoder: (latent,) -> (H, W, C).
    optimizer: of encoder and decoder together.
    image_shape: (H, W, C).
    latent: dimension of z.
    noise: deviation of the Gaussian noise on what the encoder is trained on; 0 for none.
    mask: probability that a number of it is black; 0 for never.

  Raises:
    ValueError: a number out of its range.
  """
  if noise < 0.0 or not 0.0 <= mask < 1.0:
    raise ValueError(
      f'objective.noise={noise} must be at least 0 and objective.mask={mask} in [0, 1)'
    )
  denoising = noise > 0.0 or mask > 0.0

  def init(key: Key) -> tuple[Params, Memory]:
    encoder_key, decoder_key = jax.random.split(key)
    networks = {
      'encoder': encoder.init(encoder_key, jnp.zeros(image_shape)),
      'decoder': decoder.init(decoder_key, jnp.zeros(latent)),
    }
    moments = {'first': jnp.zeros(latent), 'second': jnp.eye(latent)}
    return {'networks': networks, 'codes': moments}, optimizer.init(networks)

  def code(networks: Params, image: Image) -> jax.Array:
    return encoder.apply(networks['encoder'], image)

  def error(networks: Params, image: Image, seen: Image) -> jax.Array:
    """|x - d(e(y))|^2, summed over pixels."""
    return jnp.sum((image - decoder.apply(networks['decoder'], code(networks, seen))) ** 2)

  def corrupted(image: Image, key: Key) -> Image:
    return corrupt(image, key, noise, mask) if denoising else image

  def loss(networks: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
    return error(networks, example.image, corrupted(example.image, key)), {}

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    del step
    networks, memory, metrics = base.descend(
      loss, optimizer, params['networks'], memory, examples, keys
    )

    def moments(image: Image) -> Params:
      z = code(networks, image)
      return {'first': z, 'second': jnp.outer(z, z)}

    new = base.average(moments, examples.image)
    codes = jax.tree.map(lambda old, seen: old + RATE * (seen - old), params['codes'], new)
    return {'networks': networks, 'codes': codes}, memory, metrics

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    networks, image = params['networks'], example.image
    found = {'squared_error': error(networks, image, image)}
    if denoising:
      found['denoised_squared_error'] = error(networks, image, corrupted(image, key))
    return found

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    """The code of the image as it is."""
    del key
    return code(params['networks'], image)

  def decode(params: Params, z: jax.Array, key: Key) -> Image:
    del key
    return decoder.apply(params['networks']['decoder'], z)

  def prior(params: Params, white: jax.Array) -> jax.Array:
    """N(0, I) as codes of the Gaussian with the codes' moments."""
    return coloured(params['codes'], white)

  def decode_white(params: Params, white: jax.Array, key: Key) -> Image:
    return decode(params, prior(params, white), key)

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return decode_white(params, jax.random.normal(key, (latent,)), key)

  def denoised(params: Params, examples: Example, key: Key) -> jax.Array:
    """Each row: an image, what it is corrupted to, and what that is decoded to."""
    noisy = jax.vmap(corrupted)(examples.image, jax.random.split(key, len(examples.image)))
    restored = jax.vmap(lambda image: decode(params, encode(params, image, key), key))(noisy)
    return jnp.stack([examples.image, noisy, restored], axis=1)

  shown = {'reconstructions': figures.reconstructions(encode, decode)}
  shown |= {'denoised': denoised} if denoising else {}
  shown |= {'manifold': figures.manifold(decode_white)} if latent == 2 else {}
  networks = {'encoder': encoder, 'decoder': decoder}
  return Objective(
    init, update, evaluate, sample, encode, decode, shown, networks=networks, prior=prior
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The autoencoder that a config describes."""
  hyperparameters = base.arguments(config.objective)
  name, shape = config.network.name, base.arguments(config.network)
  return autoencoder(
    find_network(name, 'Encoder')(hyperparameters['latent'], **shape),
    find_network(name, 'Decoder')(facts.image_shape, **shape),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **hyperparameters,
  )
