"""Diffusion of the codes of a trained autoencoder (Rombach et al. 2022; Vahdat et al. 2021).

Symbols: z the code of an image, y = (z - mean) / deviation what diffuses, with a mean of each of
its numbers and one deviation of them all (Rombach et al. 2022, app. G), over all codes seen so far.
The autoencoder is that of another run, whose parameters stay as they are; they are kept beside the
denoiser's, so that a checkpoint needs no other folder.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives import base, figures, find_objective
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
from jaxgen.objectives.diffusion import diffusion

LEAST = 1e-6  # deviation of the codes


def scale(codes: Params) -> tuple[jax.Array, jax.Array]:
  """Mean (...) and deviation () of codes, from the means of z and of z^2."""
  variance = jnp.mean(codes['second'] - codes['first'] ** 2)
  return codes['first'], jnp.sqrt(jnp.maximum(variance, LEAST**2))


class Stages(NamedTuple):
  """A diffusion model of codes, and the images that they are decoded to.

  Attributes:
    inner: the model of y, whose images have the shape of a code.
    autoencoder: with `encode` and `decode`; its parameters are never updated.
  """

  inner: Objective
  autoencoder: Objective

  def code(self, params: Params, image: Image, key: Key) -> jax.Array:
    """z."""
    return self.autoencoder.encode(params['autoencoder'], image, key)

  def standardised(self, params: Params, z: jax.Array) -> jax.Array:
    """y."""
    mean, deviation = scale(params['codes'])
    return (z - mean) / deviation

  def decoded(self, params: Params, y: jax.Array, key: Key) -> Image:
    """The image of y."""
    mean, deviation = scale(params['codes'])
    return self.autoencoder.decode(params['autoencoder'], mean + deviation * y, key)

  def update(
    self, params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    """The codes of the batch, which join all codes so far, and the inner model's step on them."""
    split = jax.vmap(jax.random.split)(keys)
    z = base.each(lambda image, key: self.code(params, image, key), examples.image, split[:, 0])
    new = base.average(lambda z: {'first': z, 'second': z**2}, z)
    codes = jax.tree.map(lambda old, seen: old + (seen - old) / (step + 1), params['codes'], new)
    params = params | {'codes': codes}
    seen = examples._replace(image=jax.vmap(lambda z: self.standardised(params, z))(z))
    denoiser, memory, metrics = self.inner.update(
      params['denoiser'], memory, seen, split[:, 1], step
    )
    return params | {'denoiser': denoiser}, memory, metrics

  def evaluate(self, params: Params, example: Example, key: Key) -> Metrics:
    """The inner model's metrics of a code, and what the autoencoder loses."""
    keys = jax.random.split(key, 3)
    z = self.code(params, example.image, keys[0])
    seen = example._replace(image=self.standardised(params, z))
    of_codes = self.inner.evaluate(params['denoiser'], seen, keys[1])
    restored = self.autoencoder.decode(params['autoencoder'], z, keys[2])
    found = {f'code_{name}': value for name, value in of_codes.items()}
    return found | {'reconstruction_squared_error': jnp.mean((restored - example.image) ** 2)}

  def sample(self, params: Params, label: Label, key: Key) -> Image:
    """A sample of y, decoded."""
    first, second = jax.random.split(key)
    return self.decoded(params, self.inner.sample(params['denoiser'], label, first), second)

  def encode(self, params: Params, image: Image, key: Key) -> jax.Array:
    """The inner model's code of y."""
    first, second = jax.random.split(key)
    y = self.standardised(params, self.code(params, image, first))
    return self.inner.encode(params['denoiser'], y, second)

  def decode(self, params: Params, latent: jax.Array, key: Key) -> Image:
    """The image of the y of this code."""
    first, second = jax.random.split(key)
    return self.decoded(params, self.inner.decode(params['denoiser'], latent, first), second)

  def edit(self, params: Params, image: Image, label: Label, strength: float, key: Key) -> Image:
    """The image whose y is drawn anew from what noise leaves of it."""
    keys = jax.random.split(key, 3)
    y = self.standardised(params, self.code(params, image, keys[0]))
    edited = self.inner.edit(params['denoiser'], y, label, strength, keys[1])
    return self.decoded(params, edited, keys[2])

  def denoising(self, params: Params, examples: Example, key: Key) -> jax.Array:
    """What the codes on the way to samples are decoded to."""
    first, second = jax.random.split(key)
    ways = self.inner.figures['denoising'](params['denoiser'], examples, first)
    keys = jax.random.split(second, ways.shape[:2])
    return jax.vmap(jax.vmap(lambda y, key: self.decoded(params, y, key)))(ways, keys)


def latent_diffusion(inner: Objective, autoencoder: Objective, shape: tuple[int, ...]) -> Objective:
  """A diffusion model of the codes of an autoencoder, which have this shape."""
  stages = Stages(inner, autoencoder)

  def init(key: Key) -> tuple[Params, Memory]:
    """With an autoencoder drawn anew, in whose place a run puts the trained one."""
    first, second = jax.random.split(key)
    denoiser, memory = inner.init(first)
    codes = {'first': jnp.zeros(shape), 'second': jnp.ones(shape)}
    frozen, _ = autoencoder.init(second)
    return {'denoiser': denoiser, 'autoencoder': frozen, 'codes': codes}, memory

  def plainly(params: Params, z: jax.Array, key: Key) -> Image:
    return autoencoder.decode(params['autoencoder'], z, key)

  codes = inner.encode is not None
  return Objective(
    init,
    stages.update,
    stages.evaluate,
    stages.sample,
    stages.encode if codes else None,
    stages.decode if codes else None,
    figures={
      'denoising': stages.denoising,
      'reconstructions': figures.reconstructions(stages.code, plainly),
    },
    edit=stages.edit,
    networks={**inner.networks, **autoencoder.networks},
    averaged={'denoiser': True, 'autoencoder': False, 'codes': False},
    conditional=inner.conditional,
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes, on the codes of the one in its section `autoencoder`."""
  autoencoder = find_objective(config.autoencoder, facts)
  if not (autoencoder.encode and autoencoder.decode):
    raise ValueError(
      f'objective.autoencoder={config.objective.autoencoder!r} is of the objective '
      f'{config.autoencoder.objective.name!r}, which has no codes: name a run of '
      'experiments/autoencoder.py or vae.py'
    )
  if config.sampler.clip:
    raise ValueError('sampler.clip=True would cut codes, which have no bounds: set it to False')
  key, image = jax.random.key(0), jax.ShapeDtypeStruct(facts.image_shape, jnp.float32)
  params, _ = jax.eval_shape(autoencoder.init, key)
  shape = jax.eval_shape(autoencoder.encode, params, image, key).shape
  of_codes = ml_collections.ConfigDict(config.to_dict())
  del of_codes.objective.autoencoder
  of_codes.objective.update({'sigma_data': 1.0, 'mean': 0.0})
  of_codes.evaluation.likelihood_steps = 0  # which are of pixels
  inner = diffusion.build(of_codes, facts._replace(image_shape=shape))
  try:
    jax.eval_shape(inner.init, key)
  except (TypeError, ValueError) as error:
    raise ValueError(
      f'network.name={config.network.name!r} does not take codes {shape}: {error}; mlp takes any'
    ) from error
  return latent_diffusion(inner, autoencoder, shape)
