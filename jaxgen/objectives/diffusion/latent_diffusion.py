"""Diffusion of the codes of a trained autoencoder (Rombach et al. 2022; Vahdat et al. 2021).

Symbols: z the code of an image, y = (z - mean) / deviation what diffuses, with a mean of each of
its numbers and one deviation of them all (Rombach et al. 2022, app. G), over all codes seen so far.
The autoencoder is that of another run, whose parameters stay as they are; they are kept beside the
denoiser's, so that a checkpoint needs no other folder.
"""

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


def latent_diffusion(inner: Objective, autoencoder: Objective, shape: tuple[int, ...]) -> Objective:
  """A diffusion model of codes, and the images that they are decoded to.

  Args:
    inner: the model of y, whose images have the shape of a code.
    autoencoder: with `encode` and `decode`; its parameters are never updated.
    shape: of a code.
  """

  def init(key: Key) -> tuple[Params, Memory]:
    """With an autoencoder drawn anew, in whose place a run puts the trained one."""
    first, second = jax.random.split(key)
    denoiser, memory = inner.init(first)
    codes = {'first': jnp.zeros(shape), 'second': jnp.ones(shape)}
    frozen, _ = autoencoder.init(second)
    return {'denoiser': denoiser, 'autoencoder': frozen, 'codes': codes}, memory

  def code(params: Params, image: Image, key: Key) -> jax.Array:
    return autoencoder.encode(params['autoencoder'], image, key)

  def standardised(params: Params, z: jax.Array) -> jax.Array:
    mean, deviation = scale(params['codes'])
    return (z - mean) / deviation

  def decoded(params: Params, y: jax.Array, key: Key) -> Image:
    mean, deviation = scale(params['codes'])
    return autoencoder.decode(params['autoencoder'], mean + deviation * y, key)

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    split = jax.vmap(jax.random.split)(keys)
    z = base.each(lambda image, key: code(params, image, key), examples.image, split[:, 0])
    new = base.average(lambda z: {'first': z, 'second': z**2}, z)
    codes = jax.tree.map(lambda old, seen: old + (seen - old) / (step + 1), params['codes'], new)
    params = params | {'codes': codes}
    seen = examples._replace(image=jax.vmap(lambda z: standardised(params, z))(z))
    denoiser, memory, metrics = inner.update(params['denoiser'], memory, seen, split[:, 1], step)
    return params | {'denoiser': denoiser}, memory, metrics

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    keys = jax.random.split(key, 3)
    z = code(params, example.image, keys[0])
    of_codes = inner.evaluate(
      params['denoiser'], example._replace(image=standardised(params, z)), keys[1]
    )
    restored = autoencoder.decode(params['autoencoder'], z, keys[2])
    found = {f'code_{name}': value for name, value in of_codes.items()}
    return found | {'reconstruction_squared_error': jnp.mean((restored - example.image) ** 2)}

  def sample(params: Params, label: Label, key: Key) -> Image:
    first, second = jax.random.split(key)
    return decoded(params, inner.sample(params['denoiser'], label, first), second)

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    first, second = jax.random.split(key)
    y = standardised(params, code(params, image, first))
    return inner.encode(params['denoiser'], y, second)

  def decode(params: Params, latent: jax.Array, key: Key) -> Image:
    first, second = jax.random.split(key)
    return decoded(params, inner.decode(params['denoiser'], latent, first), second)

  def edit(params: Params, image: Image, label: Label, strength: float, key: Key) -> Image:
    keys = jax.random.split(key, 3)
    y = standardised(params, code(params, image, keys[0]))
    return decoded(params, inner.edit(params['denoiser'], y, label, strength, keys[1]), keys[2])

  def denoising(params: Params, examples: Example, key: Key) -> jax.Array:
    """What the codes on the way to samples are decoded to."""
    first, second = jax.random.split(key)
    ways = inner.figures['denoising'](params['denoiser'], examples, first)
    keys = jax.random.split(second, ways.shape[:2])
    return jax.vmap(jax.vmap(lambda y, key: decoded(params, y, key)))(ways, keys)

  def plainly(params: Params, z: jax.Array, key: Key) -> Image:
    return autoencoder.decode(params['autoencoder'], z, key)

  codes = inner.encode is not None
  return Objective(
    init,
    update,
    evaluate,
    sample,
    encode if codes else None,
    decode if codes else None,
    figures={'denoising': denoising, 'reconstructions': figures.reconstructions(code, plainly)},
    edit=edit,
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
