"""What is done with a finished or running workdir: sample from it, evaluate it."""

import io
import json
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxgen import checkpoint, cost, data, images, objective, parallel
from jaxgen.checkpoint import BEST, FOLDERS, LAST
from jaxgen.errors import UserError
from jaxgen.evaluation import GRID, Evaluation, first, progress
from jaxgen.references import about
from jaxgen.scores import Scorer, joined
from jaxgen.workdir import image_shape

SHOWN = 10  # samples shown beside their nearest training images


def restore(
  config: ml_collections.ConfigDict,
  workdir: Path,
  image_shape: tuple[int, int, int],
  which: str = LAST,
) -> tuple[objective.Objective, parallel.TrainState]:
  """The objective of a config, and the state of the workdir's newest whole or best checkpoint.

  Raises:
    UserError: there is no checkpoint, or it is of another architecture.
  """
  model = objective.build(config, image_shape)
  template = jax.eval_shape(lambda: parallel.initial_state(model, config.seed))
  state, _ = checkpoint.restore(workdir / FOLDERS[which], template)
  if state is None and which == BEST:
    raise UserError(
      f'{workdir} holds no best checkpoint: none is kept before an evaluation, or where '
      f'config.checkpoint.best={config.checkpoint.best!r} names no metric of it'
    )
  if state is None:
    raise UserError(f'{workdir} holds no checkpoint: train first, with --mode=train')
  return model, state


def sample(
  config: ml_collections.ConfigDict,
  workdir: Path,
  count: int,
  parameters: str = 'ema',
  which: str = LAST,
) -> None:
  """Writes samples.npz (uint8 (N, H, W, C) as `samples`) and grid.png to the workdir.

  Raises:
    UserError: fewer than one sample, or nothing to sample from.
  """
  if count < 1:
    raise UserError(f'--num_samples={count} must be at least 1')
  model, state = restore(config, workdir, image_shape(workdir), which)
  params = state.ema if parameters == 'ema' else state.params
  drawn = np.concatenate(
    list(progress(Evaluation(model, config).samples(params, count), count, parameters))
  )
  buffer = io.BytesIO()
  np.savez(buffer, samples=drawn)
  images.write_whole(workdir / 'samples.npz', buffer.getvalue())
  images.save_png(workdir / 'grid.png', images.enlarge(images.grid(drawn[:GRID])))
  print(
    f'{count} samples of step {int(state.step)}: {workdir / "samples.npz"}, {workdir / "grid.png"}'
  )


def evaluate(config: ml_collections.ConfigDict, workdir: Path, which: str = LAST) -> dict[str, Any]:
  """Test-set means, scores and cost of averaged and raw parameters, also in evaluation.json.

  What is found of the best checkpoint goes to evaluation-best.json, apart from the last one's.
  """
  dataset = data.load(config.data)
  model, state = restore(config, workdir, dataset.image_shape, which)
  evaluation = Evaluation(model, config)
  test = dataset.test.images
  update = parallel.train_steps(model, config.seed, config.ema_decay)
  shape = (jax.local_device_count(), 1, config.batch_size, *dataset.image_shape)
  results = {
    'step': int(state.step),
    'checkpoint': which,
    'objective': config.objective.to_dict(),  # a sampler may be chosen now
    'test_images': len(test),
    'ema': evaluation.measure(state.ema, test),
    'raw': evaluation.measure(state.params, test),
    'cost': {
      'parameters': cost.parameters(state.params),
      'training_flops_per_image': cost.training_flops(
        update, state, jax.ShapeDtypeStruct(shape, np.uint8)
      ),
      'network_evaluations_per_sample': cost.network_evaluations(model, state.params),
    },
  }
  if config.evaluation.num_samples:
    results |= score(config, workdir, dataset, evaluation, state, results['cost'])
  name = 'evaluation.json' if which == LAST else f'evaluation-{which}.json'
  images.write_whole(workdir / name, json.dumps(results, indent=2).encode())
  return results


def score(
  config: ml_collections.ConfigDict,
  workdir: Path,
  dataset: data.Dataset,
  evaluation: Evaluation,
  state: parallel.TrainState,
  costs: dict[str, Any],
) -> dict[str, Any]:
  """Scores of samples from averaged and raw parameters; also draws figures/neighbours.png.

  Adds to `costs` the seconds that samples took. The first drawing compiles, so the last, from the
  raw parameters, is timed.
  """
  count = config.evaluation.num_samples
  scorer = Scorer(dataset, config, ('test', 'train'))
  found: dict[str, Any] = {'features': about(scorer.kinds), 'no_classifier': scorer.reason}
  for name, params in (('ema', state.ema), ('raw', state.params)):
    sets = []
    for seed in range(config.seed, config.seed + config.evaluation.seeds):
      watch, shown = cost.Stopwatch(), []
      drawn = watch.time(evaluation.samples(params, count, seed))
      drawn = first(progress(drawn, count, f'{name}, seed {seed}'), SHOWN, shown)
      sets.append(scorer.score(drawn, seed))
      neighbours = sets[0][0].neighbours
      if (name, seed) == ('ema', config.seed) and neighbours is not None:
        sheet = beside(np.concatenate(shown), neighbours, dataset.train.images)
        images.save_png(workdir / 'figures' / 'neighbours.png', images.enlarge(sheet, 240))
    found[f'{name}_scores'] = joined(sets)
  costs['seconds_per_1000_samples'] = 1000.0 * watch.seconds / count
  return found


def beside(samples: np.ndarray, neighbours: np.ndarray, train: data.Images) -> np.ndarray:
  """A sheet with a row for each sample (N, H, W, C): it, and the training images nearest to it."""
  rows = neighbours[: len(samples)]
  near = train[rows.ravel()].reshape(*rows.shape, *samples.shape[1:])
  pictures = np.concatenate([samples[:, None], near], axis=1)
  return images.grid(pictures.reshape(-1, *samples.shape[1:]), columns=pictures.shape[1])
