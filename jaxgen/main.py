"""python -m jaxgen.main --config=experiments/ddpm.py: train, sample from and evaluate a model."""

import argparse
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxgen import configuration
from jaxgen.errors import UserError
from jaxgen.stopping import silence


def parser() -> argparse.ArgumentParser:
  """The command line, but for --config.field=value, which the config's own types parse."""
  result = argparse.ArgumentParser(
    prog='python -m jaxgen.main',
    description='Train, sample from or evaluate a deep generative model.',
    epilog='Any field of the config can be overridden: --config.optimizer.learning_rate=3e-4. '
    'A config file is a Python program, and is run.',
    allow_abbrev=False,
  )
  result.add_argument('--config', help='experiments/NAME.py or experiments/NAME.py:DATASET')
  result.add_argument('--workdir', type=Path, help='folder of the run (runs/NAME-DATASET-seedN)')
  result.add_argument('--mode', choices=('train', 'sample', 'evaluate'), default='train')
  result.add_argument('--num_samples', type=int, default=100, help='with --mode=sample')
  result.add_argument('--parameters', choices=('ema', 'raw'), default='ema', help='which to sample')
  result.add_argument(
    '--checkpoint', choices=('last', 'best'), default='last', help='which to sample or evaluate'
  )
  result.add_argument('--platform', help='cpu, gpu or tpu; the best there is by default')
  result.add_argument('--devices', type=int, help='virtual devices on the CPU')
  return result


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the process's exit code."""
  options, overrides = parser().parse_known_args(arguments)
  logging.basicConfig(format='%(levelname)s: %(message)s', level=logging.WARNING)
  try:
    unknown = [a for a in overrides if a.startswith('-') and not a.startswith('--config.')]
    if unknown:
      raise UserError(f'unknown option {unknown[0]!r}; see --help')
    config = configuration.load(options.config, options.workdir, overrides)
    workdir = options.workdir or default_workdir(options.config, config)
    select_devices(options.platform, options.devices)
    return run(options, config, workdir)
  except UserError as error:
    print(f'jaxgen: {error}', file=sys.stderr)
    return 2
  except BrokenPipeError:
    silence()
    return 128 + signal.SIGPIPE
  except (OSError, MemoryError) as error:
    print(f'jaxgen: {error}; what was saved in the workdir before is kept', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('jaxgen: interrupted; the last checkpoint is kept', file=sys.stderr)
    return 130


def run(options: argparse.Namespace, config: object, workdir: Path) -> int:
  """Dispatches on the mode. Imports wait until the devices are chosen."""
  if options.mode == 'train':
    from jaxgen.stopping import Stopped
    from jaxgen.train import train

    try:
      train(config, workdir)
    except Stopped as stopped:
      print(f'jaxgen: {stopped}; the same command resumes', file=sys.stderr)
      return stopped.exit_code
  elif options.mode == 'sample':
    from jaxgen.inference import sample

    sample(config, workdir, options.num_samples, options.parameters, options.checkpoint)
  else:
    from jaxgen.inference import evaluate

    print(json.dumps(evaluate(config, workdir, options.checkpoint), indent=2))
  return 0


def default_workdir(source: str, config: object) -> Path:
  """runs/<experiment>-<dataset>-seed<seed>."""
  experiment = Path(source.partition(':')[0]).stem
  dataset = re.sub(r'[^\w.-]', '_', config.data.name)  # one folder, whatever the name
  return Path('runs') / f'{experiment}-{dataset}-seed{config.seed}'


def select_devices(platform: str | None, devices: int | None) -> None:
  """Chooses JAX's platform and device count, and turns on its compilation cache.

  Raises:
    UserError: there is no such platform, or no such number of devices.
  """
  import jax

  if platform:
    jax.config.update('jax_platforms', {'gpu': 'cuda'}.get(platform, platform))
  if devices is not None:
    if devices < 1:
      raise UserError(f'--devices={devices} must be at least 1')
    jax.config.update('jax_num_cpu_devices', devices)
  cache = Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser() / 'jaxgen' / 'xla'
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    jax.config.update('jax_compilation_cache_dir', str(cache))
  try:
    jax.devices()
  except RuntimeError as error:
    raise UserError(
      f'--platform={platform}: {str(error).splitlines()[0]} Choose cpu, gpu or tpu, as installed.'
    ) from error


if __name__ == '__main__':
  sys.exit(main())
