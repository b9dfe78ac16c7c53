"""A model of the codes of a trained autoencoder, by which both together model images.

Symbols: z the code of an image, y = (z - mean) / deviation what the second stage is a model of,
with a mean of each of its numbers and one deviation of them all (Rombach et al. 2022, app. G), over
all codes seen so far. The autoencoder is that of another run, whose parameters stay as they are;
they are kept beside the second stage's, so that a checkpoint needs no other folder. Where it has a
posterior q(z|x), codes are drawn from that: what is modelled is the law of the codes that its
decoder has learned from.
"""

from collections.abc import Iterable, Mapping
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

LEAST = 1e-6  # deviation of the codes
OF_CODES = 'code_'  # before the names of the second stage's held-out numbers


def scale(codes: Params) -> tuple[jax.Array, jax.Array]:
  """Mean (...) and deviation () of codes, from the means of z and of z^2."""
  variance = jnp.mean(codes['second'] - codes['first'] ** 2)
  return codes['first'], jnp.sqrt(jnp.maximum(variance, LEAST**2))


class Stages(NamedTuple):
  """A model of codes, and the images that they are decoded to.

  Attributes:
    second: the model of y, whose images have the shape of a code.
    autoencoder: with `encode` and `decode`; its parameters are never updated.
    shape: of a code.
  """

  second: Objective
  autoencoder: Objective
  shape: tuple[int, ...]

  def init(self, key: Key) -> tuple[Params, Memory]:
    """With an autoencoder drawn anew, in whose place a run puts the trained one."""
    first, last = jax.random.split(key)
    of_codes, memory = self.second.init(first)
    codes = {'first': jnp.zeros(self.shape), 'second': jnp.ones(self.shape)}
    frozen, _ = self.autoencoder.init(last)
    return {'second': of_codes, 'autoencoder': frozen, 'codes': codes}, memory

  def code(self, params: Params, image: Image, key: Key) -> jax.Array:
    """z, the mean of q(z|x) where there is one."""
    return self.autoencoder.encode(params['autoencoder'], image, key)

  def drawn(self, params: Params, image: Image, key: Key) -> jax.Array:
    """z ~ q(z|x), or the code where there is no posterior."""
    joint = self.autoencoder.joint
    if not (joint and joint.posterior):
      return self.code(params, image, key)
    first, last = jax.random.split(key)
    return joint.posterior(params['autoencoder'], image, first)(last)[0]

  def standardised(self, params: Params, z: jax.Array) -> jax.Array:
    """y."""
    mean, deviation = scale(params['codes'])
    return (z - mean) / deviation

  def decoded(self, params: Params, y: jax.Array, key: Key) -> Image:
    """The image of y."""
    mean, deviation = scale(params['codes'])
    return self.restored(params, mean + deviation * y, key)

  def restored(self, params: Params, z: jax.Array, key: Key) -> Image:
    """The image of z."""
    return self.autoencoder.decode(params['autoencoder'], z, key)

  def update(
    self, params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    """The codes of the batch, which join all codes so far, and the second stage's step on them."""
    split = jax.vmap(jax.random.split)(keys)
    z = base.each(lambda image, key: self.drawn(params, image, key), examples.image, split[:, 0])
    new = base.average(lambda z: {'first': z, 'second': z**2}, z)
    codes = jax.tree.map(lambda old, seen: old + (seen - old) / (step + 1), params['codes'], new)
    params = params | {'codes': codes}
    seen = examples._replace(image=jax.vmap(lambda z: self.standardised(params, z))(z))
    of_codes, memory, metrics = self.second.update(
      params['second'], memory, seen, split[:, 1], step
    )
    return params | {'second': of_codes}, memory, metrics

  def evaluate(self, params: Params, example: Example, key: Key) -> Metrics:
    """The second stage's metrics of a code, and what the autoencoder loses."""
    keys = jax.random.split(key, 3)
    z = self.drawn(params, example.image, keys[0])
    seen = example._replace(image=self.standardised(params, z))
    of_codes = self.second.evaluate(params['second'], seen, keys[1])
    restored = self.restored(params, z, keys[2])
    found = {f'{OF_CODES}{name}': value for name, value in of_codes.items()}
    return found | {'reconstruction_squared_error': jnp.mean((restored - example.image) ** 2)}

  def diagnose(self, params: Params, examples: Example, key: Key) -> Metrics:
    """What the second stage's codes of many codes are used for."""
    first, last = jax.random.split(key)
    keys = jax.random.split(first, len(examples.image))
    z = jax.vmap(lambda image, key: self.drawn(params, image, key))(examples.image, keys)
    seen = examples._replace(image=jax.vmap(lambda z: self.standardised(params, z))(z))
    found = self.second.diagnose(params['second'], seen, last)
    return {f'{OF_CODES}{name}': value for name, value in found.items()}

  def warn(self, step: int, means: Mapping[str, float]) -> Iterable[str]:
    """What has gone wrong with the second stage."""
    own = {name.removeprefix(OF_CODES): value for name, value in means.items()}
    return self.second.warn(step, own)

  def sample(self, params: Params, label: Label, key: Key) -> Image:
    """A sample of y, decoded; of a VAE with the noise of p(y|u).

    The mean of p(y|u) would leave out all of y that u does not say (Dai & Wipf 2019, sec. 3).
    """
    keys = jax.random.split(key, 3)
    if not self.second.joint:
      y = self.second.sample(params['second'], label, keys[0])
      return self.decoded(params, y, keys[1])
    codes = jax.eval_shape(self.second.encode, params['second'], jnp.zeros(self.shape), key)
    u = jax.random.normal(keys[0], codes.shape)
    return self.decoded(params, self.second.joint.draw(params['second'], u, keys[1]), keys[2])

  def encode(self, params: Params, image: Image, key: Key) -> jax.Array:
    """The second stage's code of y."""
    first, last = jax.random.split(key)
    y = self.standardised(params, self.code(params, image, first))
    return self.second.encode(params['second'], y, last)

  def decode(self, params: Params, latent: jax.Array, key: Key) -> Image:
    """The image of the y of this code."""
    first, last = jax.random.split(key)
    return self.decoded(params, self.second.decode(params['second'], latent, first), last)

  def edit(self, params: Params, image: Image, label: Label, strength: float, key: Key) -> Image:
    """The image whose y is drawn anew from what noise leaves of it."""
    keys = jax.random.split(key, 3)
    y = self.standardised(params, self.code(params, image, keys[0]))
    edited = self.second.edit(params['second'], y, label, strength, keys[1])
    return self.decoded(params, edited, keys[2])

  def denoising(self, params: Params, examples: Example, key: Key) -> jax.Array:
    """What the codes on the way to samples are decoded to."""
    first, last = jax.random.split(key)
    ways = self.second.figures['denoising'](params['second'], examples, first)
    keys = jax.random.split(last, ways.shape[:2])
    return jax.vmap(jax.vmap(lambda y, key: self.decoded(params, y, key)))(ways, keys)


def second_stage(second: Objective, autoencoder: Objective, shape: tuple[int, ...]) -> Objective:
  """A model of images by a model of codes of this shape, see `Stages`."""
  stages = Stages(second, autoencoder, shape)
  shown = {'reconstructions': figures.reconstructions(stages.code, stages.restored)}
  shown |= {'denoising': stages.denoising} if 'denoising' in second.figures else {}
  return Objective(
    stages.init,
    stages.update,
    stages.evaluate,
    stages.sample,
    stages.encode if second.encode else None,
    stages.decode if second.encode else None,
    figures=shown,
    diagnose=stages.diagnose if second.diagnose else None,
    edit=stages.edit if second.edit else None,
    networks={**{f'second_{n}': m for n, m in second.networks.items()}, **autoencoder.networks},
    averaged={'second': second.averaged, 'autoencoder': False, 'codes': False},
    conditional=second.conditional,
    warn=stages.warn,
    of_noise=second.of_noise,
  )


def find_autoencoder(
  config: ml_collections.ConfigDict, facts: Facts
) -> tuple[Objective, tuple[int, ...]]:
  """The model in the config's section `autoencoder`, and the shape of its codes.

  Raises:
    ValueError: it has none.
  """
  autoencoder = find_objective(config.autoencoder, facts)
  if not (autoencoder.encode and autoencoder.decode):
    raise ValueError(
      f'objective.autoencoder={config.objective.autoencoder!r} is of the objective '
      f'{config.autoencoder.objective.name!r}, which has no codes: name a run of '
      'experiments/autoencoder.py or vae.py'
    )
  key, image = jax.random.key(0), jax.ShapeDtypeStruct(facts.image_shape, jnp.float32)
  params, _ = jax.eval_shape(autoencoder.init, key)
  return autoencoder, jax.eval_shape(autoencoder.encode, params, image, key).shape
