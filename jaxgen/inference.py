"""What is done with a finished or running workdir: sample from it, evaluate it."""

import io
import json
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxgen import checkpoint, data, images, objective, parallel
from jaxgen.errors import UserError
from jaxgen.evaluation import GRID, Evaluation
from jaxgen.workdir import image_shape


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
  """Test-set means of averaged and raw parameters, also written to evaluation.json."""
  dataset = data.load(config.data)
  model, state = restore(config, workdir, dataset.image_shape)
  evaluation = Evaluation(model, config)
  test = dataset.test.images
  results = {
    'step': int(state.step),
    'test_images': len(test),
    'ema': evaluation.measure(state.ema, test),
    'raw': evaluation.measure(state.params, test),
  }
  images.write_whole(workdir / 'evaluation.json', json.dumps(results, indent=2).encode())
  return results
