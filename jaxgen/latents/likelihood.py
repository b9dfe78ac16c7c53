"""--mode=likelihood: log p(x) of test images under a decoder, p(x) = int p(x|z) N(z; 0, I) dz.

By annealed importance sampling of any decoder and, where the model has a posterior q(z|x), by
importance sampling from it. Both are below log p(x) on average: the larger one is nearer. Images
that the model itself made, whose latents are known, have a bound from above too, and the gap says
how far annealing is from the truth there.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgen import datasets, fields, images
from jaxgen.datasets.splits import Rows, subset
from jaxgen.devices.parallel import map_images, purpose_key
from jaxgen.errors import UserError
from jaxgen.latents.annealing import (
  LogLikelihood,
  annealed_from_above,
  annealed_importance,
  log_mean,
)
from jaxgen.model import EMA, Model, restore
from jaxgen.objectives.base import Image, Joint, Key, Objective, Params
from jaxgen.objectives.distributions import log_normal
from jaxgen.progress import follow
from jaxgen.training.checkpoint import LAST
from jaxgen.training.workdir import require_data

SAMPLES = 5000  # of q(z|x)
AT_ONCE = 100  # of these, so that memory does not grow with them
CHAINS = 16
IMAGES = 100  # of the test split, unasked
TEMPERATURES = 500
SIMULATED = 20  # images for the bound from above
CHUNK = 10  # images that a device takes at once


def with_noise(objective: Objective, noise: float) -> Joint:
  """A decoder of N(0, I), its pictures with Gaussian noise of this deviation (Wu et al. 2017)."""

  def picture(params: Params, z: jax.Array) -> Image:
    latent = objective.prior(params, z) if objective.prior else z
    return objective.decode(params, latent, jax.random.key(0))

  def log_likelihood(params: Params, image: Image, z: jax.Array) -> jax.Array:
    return log_normal(image, picture(params, z), jnp.full_like(image, 2.0 * np.log(noise)))

  def draw(params: Params, z: jax.Array, key: Key) -> Image:
    made = picture(params, z)
    return made + noise * jax.random.normal(key, made.shape)

  return Joint(f'gaussian_noise_{noise:g}', log_likelihood, draw, None)


def joint_of(model: Model, noise: float | None) -> Joint:
  """The model's own likelihood, or that of its decoder with Gaussian noise.

  Raises:
    UserError: it does not decode noise N(0, I), the deviation is missing or not positive, or the
      model has a likelihood of its own.
  """
  objective, name = model.objective, model.config.objective.name
  if objective.joint:
    if noise is not None:
      raise UserError(f'--noise={noise} has no effect on {name!r}, which has a likelihood')
    return objective.joint
  if not objective.decode:
    raise UserError(f'the objective {name!r} cannot decode, so that no latents have a likelihood')
  if not objective.of_noise:
    raise UserError(f'the latents of {name!r} are no noise N(0, I), which log p(x) is a mean over')
  if noise is None or not 0.0 < noise < np.inf:
    raise UserError(
      f'the decoder of {name!r} says nothing of noise: state its deviation, of pixels in [-1, 1], '
      'as in --noise=0.1'
    )
  return with_noise(objective, noise)


def latent_shape(model: Model) -> tuple[int, ...]:
  """Of what the model decodes."""
  if not model.objective.encode:
    return (model.config.objective.latent,)
  image = jax.ShapeDtypeStruct(model.facts.image_shape, jnp.float32)
  return jax.eval_shape(model.objective.encode, model.params, image, jax.random.key(0)).shape


def importance(
  log_likelihood: LogLikelihood,
  draw: Callable[[Key], tuple[jax.Array, jax.Array]],
  key: Key,
  samples: int = SAMPLES,
) -> tuple[jax.Array, jax.Array]:
  """The importance-weighted bound on log p(x) in nats (Burda et al. 2016, eq. 8).

  Args:
    log_likelihood: z -> log p(x|z).
    draw: key -> z, log q(z|x).
    key: of the samples.
    samples: K.

  Returns:
    The bound, and the effective number of its samples, (sum w)^2 / sum w^2.
  """

  def log_weight(key: Key) -> jax.Array:
    z, log_q = draw(key)
    return log_likelihood(z) + log_normal(z, jnp.zeros_like(z), jnp.zeros_like(z)) - log_q

  logs = jax.lax.map(log_weight, jax.random.split(key, samples), batch_size=AT_ONCE)
  return log_mean(logs), effective(logs)


def effective(log_weights: jax.Array) -> jax.Array:
  """The effective number of samples with these weights, between 1 and N (Kong 1992)."""
  shares = jax.nn.softmax(log_weights)
  return 1.0 / jnp.sum(shares**2)


def estimates(
  model: Model, noise: float | None = None, temperatures: int = TEMPERATURES
) -> Callable[[Params, Image, Key], dict[str, jax.Array]]:
  """A function params, image, key -> estimates of log p(x), and what tells how good they are.

  Raises:
    UserError: as `joint_of`.
  """
  joint, shape = joint_of(model, noise), latent_shape(model)

  def of_one(params: Params, x: Image, key: Key) -> dict[str, jax.Array]:
    chain_key, infer_key, sample_key = jax.random.split(key, 3)

    def log_likelihood(z: jax.Array) -> jax.Array:
      return joint.log_likelihood(params, x, z)

    value, found = annealed_importance(log_likelihood, shape, chain_key, temperatures, CHAINS)
    said = {
      f'annealed_{temperatures}x{CHAINS}_{joint.measure}_nats': value,
      'effective_chains': effective(found.log_weights),
      'accepted_trajectories': found.accepted.mean(),
    }
    if joint.posterior:
      bound, samples = importance(log_likelihood, joint.posterior(params, x, infer_key), sample_key)
      said |= {
        f'importance_weighted_{SAMPLES}_{joint.measure}_nats': bound,
        'annealed_above_importance_weighted_nats': value - bound,
        'effective_samples': samples,
      }
    return said

  return of_one


def measure(
  model: Model,
  pictures: np.ndarray,
  rows: np.ndarray,
  noise: float | None = None,
  temperatures: int = TEMPERATURES,
) -> dict[str, np.ndarray]:
  """Estimates of log p(x) of some images, and what tells how good they are, (N,) each.

  Args:
    model: that decodes.
    pictures: uint8 (N, H, W, C).
    rows: (N,), which of their split they are.
    noise: deviation of the noise on what a decoder without a likelihood makes.
    temperatures: of annealed importance sampling.

  Raises:
    UserError: as `joint_of`, or an estimate is not finite.
  """
  of_one, root = estimates(model, noise, temperatures), purpose_key(model.config.seed, 'likelihood')
  names: list[str] = []

  def numbers(params: Params, picture: jax.Array, row: jax.Array) -> jax.Array:
    seen = model.evaluation.see(picture, row)
    found = of_one(params, seen, jax.random.fold_in(root, row))
    names[:] = found
    return jnp.stack(list(found.values()))

  settled = model.evaluation.settle(model.params)
  chunks = map_images(numbers, CHUNK)(settled, pictures, rows)
  table = finite(np.concatenate(list(follow(chunks, len(rows), 'log p(x)', 'images'))))
  return dict(zip(names, table.T, strict=True))


def gaps(
  model: Model, count: int, noise: float | None = None, temperatures: int = TEMPERATURES
) -> np.ndarray:
  """Between the bounds on log p(x) from above and below, of images that the model makes: (N,) nats.

  Raises:
    UserError: as `joint_of`.
  """
  joint, shape = joint_of(model, noise), latent_shape(model)
  root = purpose_key(model.config.seed, 'simulated')

  def gap(params: Params, index: jax.Array) -> jax.Array:
    keys = jax.random.split(jax.random.fold_in(root, index), 4)
    z = jax.random.normal(keys[0], shape)
    x = joint.draw(params, z, keys[1])

    def log_likelihood(z: jax.Array) -> jax.Array:
      return joint.log_likelihood(params, x, z)

    below, found = annealed_importance(log_likelihood, shape, keys[2], temperatures, CHAINS)
    return annealed_from_above(log_likelihood, z, keys[3], found.steps, CHAINS) - below

  chunks = map_images(gap, CHUNK)(model.evaluation.settle(model.params), np.arange(count))
  return finite(np.concatenate(list(follow(chunks, count, 'simulated', 'images'))))


def finite(estimates: np.ndarray) -> np.ndarray:
  """The same. Raises UserError where some are not finite."""
  if not np.isfinite(estimates).all():
    raise UserError('some estimates are not finite: the run has diverged, or --noise is too small')
  return estimates


def write(
  config: ml_collections.ConfigDict,
  workdir: Path,
  parameters: str = EMA,
  which: str = LAST,
  count: int = IMAGES,
  noise: float | None = None,
  temperatures: int = TEMPERATURES,
) -> None:
  """Measures a run's model on `count` test images, a seeded choice; writes likelihood.json.

  Raises:
    UserError: as `measure`; or the data are not those of the run, or it has no checkpoint.
  """
  model = restore(config, workdir, which, parameters)
  joint_of(model, noise)
  dataset = datasets.load(config.data)
  require_data(workdir, dataset)
  rows = subset(len(dataset.test.images), count).astype(np.int32)
  found = measure(model, Rows(dataset.test.images, rows), rows, noise, temperatures)
  means = {name: summary(values) for name, values in found.items()}
  means[f'annealed_gap_of_{SIMULATED}_simulated_nats'] = summary(
    gaps(model, SIMULATED, noise, temperatures)
  )
  record = {
    **{'step': model.step, 'checkpoint': which, 'parameters': parameters, 'seed': config.seed},
    **{'test_images': len(rows), 'noise': noise, 'sampler': fields.sampler(config)},
    'means': means,
    'rows': rows.tolist(),
    'of_each': {name: values.tolist() for name, values in found.items()},
  }
  images.write_whole(workdir / 'likelihood.json', json.dumps(record, indent=2).encode())
  print(f'{len(rows)} test images, mean ± one standard error over images')
  for name, values in record['means'].items():
    error = values['standard_error']
    print(f'{name:>60}  {values["mean"]:.3f}' + ('' if error is None else f' ± {error:.3f}'))


def summary(values: np.ndarray) -> dict[str, Any]:
  """Mean and standard error of some images' numbers (N,); of one image there is no error."""
  error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
  return {'mean': float(np.mean(values, dtype=np.float64)), 'standard_error': error}
