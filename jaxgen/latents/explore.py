"""--mode=explore: pictures and numbers of a trained model's latents, and of images it edits."""

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgen import datasets, images
from jaxgen.datasets.splits import Dataset, Split, subset
from jaxgen.errors import UserError
from jaxgen.latents import codes, edits, pictures
from jaxgen.latents.pictures import SHEETS, Coded, Latents
from jaxgen.latents.probe import probe, table
from jaxgen.latents.projection import projection
from jaxgen.model import EMA, Model, restore
from jaxgen.training.checkpoint import LAST
from jaxgen.training.workdir import require_data

FOLDER = 'explore'


class Explored(NamedTuple):
  """What was seen of a model's latents, and of images that it edits.

  Attributes:
    sheets: by name, uint8 (rows, columns, H, W, C), see `pictures` and `edits`.
    record: what was done and found, as explore.json has it.
  """

  sheets: dict[str, np.ndarray]
  record: dict[str, Any]


def with_codes(model: Model) -> Model:
  """The model; where it only decodes, with codes found by descent."""
  objective = model.objective
  if objective.encode or not objective.decode:
    return model
  latent = (model.config.objective.latent,)
  model = copy.copy(model)
  model.objective = objective._replace(encode=projection(objective.decode, latent))
  return model


def latents_of(model: Model, dataset: Dataset, most: int = 0) -> Latents:
  """The codes of training and test images, of `most` each, a seeded choice; 0 for all.

  Raises:
    UserError: the model does not decode, or some codes are not finite.
  """
  shape = model.encode(dataset.test.images[np.arange(1)]).shape[1:]

  def coded(split: Split) -> Coded:
    rows = subset(len(split.images), most or len(split.images))
    if len(rows) < 2:
      raise UserError(f'{len(rows)} image of a split shows nothing of latents: take at least 2')
    some = split.images[rows]
    found = model.encode(some).reshape(len(rows), -1)
    if not np.isfinite(found).all():
      raise UserError('some codes are not finite: the run has diverged, or its sampler has')
    return Coded(some, None if split.labels is None else split.labels[rows], found)

  def decode(flat: np.ndarray) -> np.ndarray:
    return model.decode(flat.reshape(-1, *shape))

  def prior(noise: np.ndarray) -> np.ndarray:
    if not model.objective.prior:
      return noise
    taken = jax.vmap(model.objective.prior, in_axes=(None, 0))(
      model.params, jnp.asarray(noise, jnp.float32).reshape(-1, *shape)
    )
    return np.asarray(taken).reshape(noise.shape)

  return Latents(coded(dataset.train), coded(dataset.test), decode, prior)


def explore(model: Model, dataset: Dataset, most: int = 0) -> Explored:
  """What a model's codes are good for, and what it makes of given images where it denoises.

  Args:
    model: that decodes; where it does not encode, its codes are found by descent, which is slow. Of
      a model without codes, such as a conditional one that denoises, what it makes of images alone.
    dataset: its data.
    most: images of the training and of the test split that are encoded, a seeded choice; 0 for all.

  Raises:
    UserError: the model does neither, or some codes are not finite.
  """
  sheets = edits.drawn(model, dataset.test)
  described = {f'{name}.png': pictures.description(getattr(edits, name)) for name in sheets}
  if sheets and not model.objective.decode:
    return Explored(sheets, {'pictures': described})
  found = of_codes(model, dataset, most)
  found.record['pictures'] |= described
  return found._replace(sheets=found.sheets | sheets)


def of_codes(model: Model, dataset: Dataset, most: int) -> Explored:
  """Reconstructions, paths, traversals, arithmetic, manifold, neighbours, and a linear probe.

  Raises:
    UserError: the model does not decode, or some codes are not finite.
  """
  latents = latents_of(with_codes(model), dataset, most)
  train, test = latents.train, latents.test
  drawn = {name: sheet(latents) for name, sheet in SHEETS.items()}
  sheets = {name: sheet for name, sheet in drawn.items() if sheet is not None}
  order, variances = codes.strongest(train.codes), train.codes.var(axis=0)
  record = {
    'training_images': len(train.images),
    'test_images': len(test.images),
    'codes': 'encoded' if model.objective.encode else 'found by descent through the decoder',
    'dimensions': train.codes.shape[1],
    'strongest_dimensions': order[: pictures.COLUMNS].tolist(),
    'their_variances': variances[order[: pictures.COLUMNS]].tolist(),
    'pictures': {f'{name}.png': pictures.description(SHEETS[name]) for name in sheets},
  }
  if train.labels is not None and len(np.unique(train.labels)) > 1:
    features = {
      'codes': (train.codes, test.codes),
      'pixels': tuple(part.images.reshape(len(part.images), -1) / 255.0 for part in (train, test)),
    }
    record['probe'] = probe(features, train.labels, test.labels, model.config.seed)
  return Explored(sheets, record)


def write(
  config: ml_collections.ConfigDict,
  workdir: Path,
  parameters: str = EMA,
  which: str = LAST,
  most: int = 0,
) -> None:
  """Explores a run's model; writes explore/*.png and explore/explore.json into its folder.

  Raises:
    UserError: as `explore`; or the data are not those of the run, or it has no checkpoint.
  """
  model = restore(config, workdir, which, parameters)
  dataset = datasets.load(config.data)
  require_data(workdir, dataset)
  explored = explore(model, dataset, most)
  made = {'step': model.step, 'checkpoint': which, 'parameters': parameters, 'seed': config.seed}
  made |= {'sampler': config.sampler.to_dict()} if 'sampler' in config else {}
  folder = workdir / FOLDER
  for name, sheet in explored.sheets.items():
    flat = images.grid(sheet.reshape(-1, *sheet.shape[2:]), columns=sheet.shape[1])
    images.save_png(folder / f'{name}.png', images.enlarge(flat))
  record = json.dumps(made | explored.record, indent=2)
  images.write_whole(folder / 'explore.json', record.encode())
  if 'probe' in explored.record:
    print(f'linear probe, accuracy on {explored.record["test_images"]} test images')
    print(table(explored.record['probe']))
  print(f'{len(explored.sheets)} pictures of step {model.step}: {folder}')
