"""What is done with a finished or running workdir: sample from it, evaluate it."""

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxgen import configuration, datasets, fields, images, objectives
from jaxgen.datasets import splits
from jaxgen.devices import cost, parallel
from jaxgen.errors import UserError
from jaxgen.evaluation.held_out import GRID, first
from jaxgen.evaluation.provenance import circumstances, parameters_hash, revision
from jaxgen.evaluation.references import about
from jaxgen.evaluation.scores import Scorer, joined
from jaxgen.evaluation.summary import table
from jaxgen.model import EMA, Model, restore
from jaxgen.objectives.base import Example, Params
from jaxgen.progress import follow
from jaxgen.training.checkpoint import FOLDERS, LAST
from jaxgen.training.sums import SUMS
from jaxgen.training.workdir import require_data

SHOWN = 10  # samples shown beside their nearest training images


def sample(
  config: ml_collections.ConfigDict,
  workdir: Path,
  count: int,
  parameters: str = EMA,
  which: str = LAST,
  output: Path | None = None,
  labels: Sequence[int] = (),
) -> None:
  """Writes uint8 (N, H, W, C) as `samples`, beside how they were made, and a picture of the first.

  They go to samples.npz and grid.png in the workdir, or to `output`, X.npz, and X.png.

  Raises:
    UserError: fewer than one sample, another name of a file, or nothing to sample from.
  """
  if count < 1:
    raise UserError(f'--num_samples={count} must be at least 1')
  if output is not None and output.suffix != '.npz':
    raise UserError(f'--output={output} must end in .npz')
  arrays = output or workdir / 'samples.npz'
  sheet = output.with_suffix('.png') if output else workdir / 'grid.png'
  model = restore(config, workdir, which, parameters)
  digest = checkpoint_hash(workdir, which, model.step)  # now: see `evaluate`
  drawn = model.sample(count, label=labels or None)
  buffer = io.BytesIO()
  made = {
    'step': model.step,
    'checkpoint': which,
    'checkpoint_sha256': digest,
    'parameters': parameters,
    'seed': config.seed,
    'labels': json.dumps(list(labels)),
    'sampler': json.dumps(fields.sampler(config)),
    'config': json.dumps(config.to_dict()),
    'revision': revision(),
  }
  np.savez(buffer, samples=drawn, **made)
  images.write_whole(arrays, buffer.getvalue())
  images.save_png(sheet, images.enlarge(images.grid(drawn[:GRID])))
  print(f'{count} samples of step {model.step}{effort(model)}: {arrays}, {sheet}')


def effort(model: Model) -> str:
  """How often a sample passes through the network, in words; '' where there is none to count."""
  count = cost.network_evaluations(model.objective, model.params) if model.network else None
  return f', {count} network evaluation{"s" if count > 1 else ""} each' if count else ''


def checkpoint_hash(workdir: Path, which: str, step: int) -> str:
  """The SHA-256 of a checkpoint's sums, and so of all its files."""
  sums = workdir / FOLDERS[which] / str(step) / SUMS
  return hashlib.sha256(sums.read_bytes()).hexdigest()


def evaluate(config: ml_collections.ConfigDict, workdir: Path, which: str = LAST) -> None:
  """Writes test-set means, scores and cost to evaluation.json.

  They are of averaged parameters, and of raw ones too where config.evaluation.raw says so.

  Prints the first of them.

  What is found of the best checkpoint, or with another sampler than the run's, goes to a file of
  its own, see `variant`.

  Raises:
    UserError: the data are not those of the run, or there is nothing to evaluate.
  """
  model = restore(config, workdir, which)
  digest = checkpoint_hash(workdir, which, model.step)  # now, as a run may still be training there
  dataset = datasets.load(config.data)
  fingerprint = require_data(workdir, dataset)
  state, test = model.state, dataset.test
  update = parallel.train_steps(model.objective, config.seed, config.ema_decay)
  section = fields.first_stage(config)
  frozen = cost.parameters(state.params[section]) if section else 0
  results = {
    'step': model.step,
    'checkpoint': which,
    'checkpoint_sha256': digest,
    'parameters_sha256': parameters_hash(state.params),
    'ema_sha256': parameters_hash(state.ema),
    'seed': config.seed,
    'sampler': fields.sampler(config),
    'data': config.data.to_dict() | fingerprint,
    'evaluation': config.evaluation.to_dict(),
    'made': circumstances(),
    'test_images': len(test.images),
    **{name: model.evaluation.measure(params, test) for name, params in looked_at(model).items()},
    'cost': {
      'parameters': cost.parameters(state.params) - frozen,
      'training_flops_per_image': cost.training_flops(
        update, state, batch_of(config, dataset.image_shape)
      ),
      'network_evaluations_per_sample': cost.network_evaluations(model.objective, state.params),
    },
  }
  results |= cost_of_first_stage(model)
  suffix = variant(config, workdir, which)
  if config.evaluation.num_samples:
    sheet = workdir / 'figures' / f'neighbours{suffix}.png'
    results |= score(model, sheet, dataset, results['cost'])
  path = workdir / f'evaluation{suffix}.json'
  images.write_whole(path, json.dumps(results, indent=2).encode())
  print(f'{table(results)}\nall numbers, with their protocols: {path}')


def looked_at(model: Model) -> dict[str, Params]:
  """The parameters that are evaluated, by name."""
  averaged = {'ema': model.state.ema}
  return averaged | ({'raw': model.state.params} if model.config.evaluation.raw else {})


def cost_of_first_stage(model: Model) -> dict[str, Any]:
  """Which autoencoder or teacher a model stands on, and what that cost; {} of others."""
  section = fields.first_stage(model.config)
  if not section:
    return {}
  first, frozen = model.config[section], model.state.params[section]
  objective = objectives.find_objective(first, model.facts)
  state = jax.eval_shape(lambda: parallel.initial_state(objective, first.seed))
  update = parallel.train_steps(objective, first.seed, first.ema_decay)
  found = {
    'workdir': model.config.objective[section],
    'sha256': parameters_hash(frozen),
    'objective': first.objective.name,
    'parameters': cost.parameters(frozen),
    'updates': first.step,
    'images_per_update': first.batch_size,
    'training_flops_per_image': cost.training_flops(
      update, state, batch_of(first, model.facts.image_shape)
    ),
  }
  return {section: found}


def batch_of(config: ml_collections.ConfigDict, image_shape: tuple[int, int, int]) -> Example:
  """The shapes of one update's examples, as if every device took a whole batch."""
  shape = (jax.local_device_count(), 1, config.batch_size)
  number = jax.ShapeDtypeStruct(shape, np.int32)
  return Example(jax.ShapeDtypeStruct((*shape, *image_shape), np.uint8), number, number)


def variant(config: ml_collections.ConfigDict, workdir: Path, which: str = LAST) -> str:
  """What tells an evaluation from that of the last checkpoint with the run's sampler: '-best-ddim'.

  Fields of the sampler are named with their values where they are not as in evaluation.json, or
  before there is one, as in the workdir's config, which a resumed run may have changed; what an
  older file lacks was 0.
  """
  own, used = map(fields.sampler, (configuration.read(workdir), config))
  with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # none, or a damaged one
    own = dict(json.loads((workdir / 'evaluation.json').read_text())['sampler'])
  other = {name: value for name, value in used.items() if own.get(name, type(value)()) != value}
  words = [which] if which != LAST else []
  words += [str(other[name]) for name in other if name == 'name']
  words += [f'{name}{value}' for name, value in other.items() if name != 'name']
  return ''.join('-' + re.sub(r'[^\w.+-]', '_', word) for word in words)


def score(
  model: Model, sheet: Path, dataset: splits.Dataset, costs: dict[str, Any]
) -> dict[str, Any]:
  """Scores of samples of every `looked_at`; draws the neighbours of the averaged on a sheet.

  Several seeds are those of the sampler: their spread is that of sets of samples of one trained
  model, and says nothing of how far another training seed would lead.

  Adds to `costs` the seconds that the last samples took. The first ones compile; where they are the
  only ones, a part of them is drawn before.
  """
  config, count = model.config, model.config.evaluation.num_samples
  scorer = Scorer(dataset, config, ('test', 'train'))
  seeds = range(config.seed, config.seed + config.evaluation.seeds)
  found: dict[str, Any] = {'features': about(scorer.kinds), 'no_classifier': scorer.reason}
  found['sampling_seeds_of_one_trained_model'] = list(seeds)
  every = looked_at(model)
  if len(every) * len(seeds) == 1:
    list(model.evaluation.samples(model.state.ema, 1))
  for name, params in every.items():
    sets = []
    for seed in seeds:
      watch, shown = cost.Stopwatch(), []
      drawn = watch.time(model.evaluation.samples(params, count, seed))
      drawn = first(follow(drawn, count, f'{name}, sampling seed {seed}'), SHOWN, shown)
      labels = model.evaluation.sampled_labels(count, seed)
      sets.append(scorer.score(drawn, seed, labels))
      neighbours = sets[0][0].neighbours
      if (name, seed) == ('ema', config.seed) and neighbours is not None:
        picture = beside(np.concatenate(shown), neighbours, dataset.train.images)
        images.save_png(sheet, images.enlarge(picture, 240))
    found[f'{name}_scores'] = joined(sets)
  costs['seconds_per_1000_samples'] = 1000.0 * watch.seconds / count
  return found


def beside(samples: np.ndarray, neighbours: np.ndarray, train: splits.Images) -> np.ndarray:
  """A sheet with a row for each sample (N, H, W, C): it, and the training images nearest to it."""
  rows = neighbours[: len(samples)]
  near = train[rows.ravel()].reshape(*rows.shape, *samples.shape[1:])
  pictures = np.concatenate([samples[:, None], near], axis=1)
  return images.grid(pictures.reshape(-1, *samples.shape[1:]), columns=pictures.shape[1])
