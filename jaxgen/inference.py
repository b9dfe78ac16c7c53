"""What is done with a finished or running workdir: sample from it, evaluate it."""

import io
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxgen import checkpoint, cost, data, images, objective, parallel, scores
from jaxgen.errors import UserError
from jaxgen.evaluation import GRID, Evaluation
from jaxgen.workdir import image_shape

NUM_SAMPLES = 1000  # scored where a run's config is older than the field
SHOWN = 10  # samples shown beside their nearest training images
SAY_EVERY = 10.0  # seconds


def restore(
  config: ml_collections.ConfigDict, workdir: Path, image_shape: tuple[int, int, int]
) -> tuple[objective.Objective, parallel.TrainState]:
  """The objective of a config, and the state of the workdir's newest whole checkpoint.

  Raises:
    UserError: there is no checkpoint, or it is of another architecture.
  """
  model = objective.build(config, image_shape)
  template = jax.eval_shape(lambda: parallel.initial_state(model, config.seed))
  state, _ = checkpoint.restore(workdir / 'checkpoints', template)
  if state is None:
    raise UserError(f'{workdir} holds no checkpoint: train first, with --mode=train')
  return model, state


def sample(
  config: ml_collections.ConfigDict, workdir: Path, count: int, parameters: str = 'ema'
) -> None:
  """Writes samples.npz (uint8 (N, H, W, C) as `samples`) and grid.png to the workdir.

  Raises:
    UserError: fewer than one sample, or nothing to sample from.
  """
  if count < 1:
    raise UserError(f'--num_samples={count} must be at least 1')
  model, state = restore(config, workdir, image_shape(workdir))
  params = state.ema if parameters == 'ema' else state.params
  drawn = np.concatenate(list(Evaluation(model, config).samples(params, count)))
  buffer = io.BytesIO()
  np.savez(buffer, samples=drawn)
  images.write_whole(workdir / 'samples.npz', buffer.getvalue())
  images.save_png(workdir / 'grid.png', images.enlarge(images.grid(drawn[:GRID])))
  print(
    f'{count} samples of step {int(state.step)}: {workdir / "samples.npz"}, {workdir / "grid.png"}'
  )


def evaluate(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, Any]:
  """Test-set means, scores and cost of averaged and raw parameters, also in evaluation.json."""
  dataset = data.load(config.data)
  model, state = restore(config, workdir, dataset.image_shape)
  evaluation = Evaluation(model, config)
  test = dataset.test.images
  results = {
    'step': int(state.step),
    'test_images': len(test),
    'ema': evaluation.measure(state.ema, test),
    'raw': evaluation.measure(state.params, test),
    'cost': {
      'parameters': cost.parameters(state.params),
      'network_evaluations_per_sample': cost.network_evaluations(model, state.params),
    },
  }
  if config.evaluation.get('num_samples', NUM_SAMPLES):
    results |= score(config, workdir, dataset, evaluation, state, results['cost'])
  images.write_whole(workdir / 'evaluation.json', json.dumps(results, indent=2).encode())
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

  Adds to `costs` the seconds that samples took. The first drawing compiles, so the second, from
  the raw parameters, is timed.
  """
  count = config.evaluation.get('num_samples', NUM_SAMPLES)
  size = config.data.image_size
  kinds, reason = scores.kinds(dataset, config.evaluation.get('inception_weights', ''))
  against = [scores.references(dataset, features) for features in kinds]
  found: dict[str, Any] = {
    'features': scores.about(kinds),
    'no_classifier': reason,
  }
  for name, params in (('ema', state.ema), ('raw', state.params)):
    watch, shown = cost.Stopwatch(), []
    drawn = progress(watch.time(evaluation.samples(params, count)), count, name)
    seen = scores.look(scores.first(drawn, SHOWN, shown), kinds)
    results = [
      scores.score(
        *parts,
        dataset=config.data.name,
        resize=f'lanczos{size}' if size else 'none',
        seed=config.seed,
      )
      for parts in zip(seen, against, kinds, strict=True)
    ]
    found[f'{name}_scores'] = scores.joined(results)
    if name == 'ema' and results[0].neighbours is not None:
      rows = results[0].neighbours[:SHOWN]
      pictures = dataset.train.images[rows.ravel()].reshape(*rows.shape, *dataset.image_shape)
      beside = np.concatenate([np.concatenate(shown)[: len(rows), None], pictures], axis=1)
      sheet = images.grid(beside.reshape(-1, *dataset.image_shape), columns=beside.shape[1])
      images.save_png(workdir / 'figures' / 'neighbours.png', images.enlarge(sheet, 240))
  costs['seconds_per_1000_samples'] = 1000.0 * watch.seconds / count
  return found


def progress(chunks: Iterable[np.ndarray], count: int, name: str) -> Iterator[np.ndarray]:
  """Passes samples on, and says on stderr about every ten seconds how many there are, with ETA."""
  began = said = time.monotonic()
  done = 0
  for chunk in chunks:
    yield chunk
    done += len(chunk)
    now = time.monotonic()
    if now - said > SAY_EVERY and done < count:
      said = now
      left = round((now - began) / done * (count - done))
      line = f'{name}: {done} of {count} samples  ETA {left // 60}:{left % 60:02d}'
      print(line, file=sys.stderr, flush=True)
