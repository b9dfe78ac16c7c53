"""What a run says: at its start, and in one line now and then."""

import sys
from pathlib import Path

import jax
import ml_collections
from clu import parameter_overview

from jaxgen.datasets import splits
from jaxgen.devices import parallel
from jaxgen.progress import clock
from jaxgen.training.writer import SCORE, TRAIN

SHOWN = 6  # metrics in a line


def announce(
  config: ml_collections.ConfigDict,
  workdir: Path,
  dataset: splits.Dataset,
  state: parallel.TrainState,
) -> None:
  """Says what is about to run, on what, and from where."""
  if not int(state.step):
    print(parameter_overview.get_parameter_overview(state.params, include_stats=False))
  sizes = ', '.join(f'{len(split.images)} {name}' for name, split in dataset._asdict().items())
  device, name = jax.devices()[0], config.get('experiment') or config.objective.name
  print(
    f'{name} on {config.data.name} {dataset.image_shape} ({sizes}), '
    f'{jax.device_count()} x {device.device_kind}, workdir {workdir}'
  )
  if int(state.step):
    print(f'Resuming from step {int(state.step)} of {config.num_steps}')
  sys.stdout.flush()


def progress(
  step: int, config: ml_collections.ConfigDict, costs: dict[str, float], means: dict[str, float]
) -> str:
  """One line: step, speed and share of the machine's, losses, time to go, as far as known."""
  parts = [f'step {step}/{config.num_steps} {step / config.num_steps:4.0%}']
  if 'images_per_second' in costs:
    parts.append(f'{costs["images_per_second"]:,.0f} images/s')
  if 'model_flops_utilization' in costs:
    parts.append(f'{costs["model_flops_utilization"]:.0%} MFU')
  parts.append(summary({name: v for name, v in means.items() if not name.endswith('_norm')}))
  if 'images_per_second' in costs:
    to_go = (config.num_steps - step) * config.batch_size
    parts.append(f'ETA {clock(to_go / costs["images_per_second"])}')
  return '  '.join(parts)


def summary(means: dict[str, float]) -> str:
  """Scores, losses and the first of the others as a line of text; metrics.jsonl has them all."""
  names = sorted(means, key=lambda name: (not name.startswith(SCORE), not name.endswith('loss')))
  shown = [f'{n.removeprefix(TRAIN).removeprefix(SCORE)} {means[n]:.4g}' for n in names]
  return '  '.join(shown[:SHOWN]) + ' ...' * (len(shown) > SHOWN)
