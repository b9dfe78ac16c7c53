"""Autoencoder, plain or denoising, with a Gaussian of its codes to sample from.

Symbols: x image, z = e(x) its code, d the decoder. The loss is |x - d(e(y))|^2, y = x in the plain
one and a corrupted x in the denoising one (Vincent et al. 2008), whose optimum for Gaussian noise
is E[x | y], from which the score of the noisy images is known (Alain & Bengio 2014). An autoencoder
is no law of images; `sample` decodes codes of the Gaussian that has the mean and covariance of the
codes of the images seen: an ex-post density (Ghosh et al. 2020, sec. 4), fitted beside the
training, in which it has no part.
"""

from dataclasses import dataclass
from functools import partial

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


@dataclass(frozen=True)
class Autoencoder:
  """e, d, and how what e is trained on is corrupted; attributes as in `autoencoder`."""

  encoder: nn.Module
  decoder: nn.Module
  noise: float
  mask: float

  @property
  def denoising(self) -> bool:
    """Whether it is corrupted at all."""
    return self.noise > 0.0 or self.mask > 0.0

  def corrupted(self, image: Image, key: Key) -> Image:
    """y."""
    return corrupt(image, key, self.noise, self.mask) if self.denoising else image

  def code(self, networks: Params, image: Image) -> jax.Array:
    """e(x)."""
    return self.encoder.apply(networks['encoder'], image)

  def error(self, networks: Params, image: Image, seen: Image) -> jax.Array:
    """|x - d(e(y))|^2, summed over pixels."""
    restored = self.decoder.apply(networks['decoder'], self.code(networks, seen))
    return jnp.sum((image - restored) ** 2)

  def loss(self, networks: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
    """Of one training image."""
    return self.error(networks, example.image, self.corrupted(example.image, key)), {}

  def moments(self, networks: Params, image: Image) -> Params:
    """What the image's code adds to those of all codes."""
    z = self.code(networks, image)
    return {'first': z, 'second': jnp.outer(z, z)}

  def encode(self, params: Params, image: Image, key: Key) -> jax.Array:
    """The code of the image as it is."""
    del key
    return self.code(params['networks'], image)

  def decode(self, params: Params, z: jax.Array, key: Key) -> Image:
    """d(z)."""
    del key
    return self.decoder.apply(params['networks']['decoder'], z)


def update(
  model: Autoencoder,
  optimizer: optax.GradientTransformation,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """A step down the loss, then one of the moments to those of the batch's codes."""
  del step
  networks, memory, metrics = base.descend(
    model.loss, optimizer, params['networks'], memory, examples, keys
  )
  new = base.average(partial(model.moments, networks), examples.image)
  codes = jax.tree.map(lambda old, seen: old + RATE * (seen - old), params['codes'], new)
  return {'networks': networks, 'codes': codes}, memory, metrics


def evaluate(model: Autoencoder, params: Params, example: Example, key: Key) -> Metrics:
  """The squared error from the image as it is, and from the corrupted one where there is one."""
  networks, image = params['networks'], example.image
  found = {'squared_error': model.error(networks, image, image)}
  if model.denoising:
    found['denoised_squared_error'] = model.error(networks, image, model.corrupted(image, key))
  return found


def prior(params: Params, white: jax.Array) -> jax.Array:
  """N(0, I) as codes of the Gaussian with the codes' moments."""
  return coloured(params['codes'], white)


def decode_white(model: Autoencoder, params: Params, white: jax.Array, key: Key) -> Image:
  """N(0, I) as images."""
  return model.decode(params, prior(params, white), key)


def sample(model: Autoencoder, params: Params, label: Label, key: Key) -> Image:
  """A code of that Gaussian, decoded."""
  del label
  return decode_white(model, params, jax.random.normal(key, params['codes']['first'].shape), key)


def denoised(model: Autoencoder, params: Params, examples: Example, key: Key) -> jax.Array:
  """Each row: an image, what it is corrupted to, and what that is decoded to."""
  noisy = jax.vmap(model.corrupted)(examples.image, jax.random.split(key, len(examples.image)))
  restored = jax.vmap(lambda y: model.decode(params, model.encode(params, y, key), key))(noisy)
  return jnp.stack([examples.image, noisy, restored], axis=1)


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
  model = Autoencoder(encoder, decoder, noise, mask)

  def init(key: Key) -> tuple[Params, Memory]:
    encoder_key, decoder_key = jax.random.split(key)
    networks = {
      'encoder': encoder.init(encoder_key, jnp.zeros(image_shape)),
      'decoder': decoder.init(decoder_key, jnp.zeros(latent)),
    }
    codes = {'first': jnp.zeros(latent), 'second': jnp.eye(latent)}
    return {'networks': networks, 'codes': codes}, optimizer.init(networks)

  shown = {'reconstructions': figures.reconstructions(model.encode, model.decode)}
  shown |= {'denoised': partial(denoised, model)} if model.denoising else {}
  shown |= {'manifold': figures.manifold(partial(decode_white, model))} if latent == 2 else {}
  return Objective(
    init,
    partial(update, model, optimizer),
    partial(evaluate, model),
    partial(sample, model),
    model.encode,
    model.decode,
    shown,
    networks={'encoder': encoder, 'decoder': decoder},
    prior=prior,
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
