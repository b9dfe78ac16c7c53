"""python -m jaxgen.main --config=experiments/ddpm.py: train, sample, evaluate, explore, verify."""

import argparse
import gc
import logging
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from jaxgen import commands, configuration, datasets, fields
from jaxgen.devices import parallel, processes
from jaxgen.errors import UserError, first_line
from jaxgen.training.stopping import silence

# Options that not every mode looks at.
MODES_OF = {
  'output': ('sample',),
  'label': ('sample',),
  'num_samples': ('sample',),
  'parameters': ('sample', 'explore', 'likelihood'),
  'checkpoint': ('sample', 'evaluate', 'explore', 'likelihood'),
  'steps': ('verify',),
  'num_images': ('explore', 'likelihood'),
  'noise': ('likelihood',),
  'temperatures': ('likelihood',),
}
LONGEST = 150  # letters of a folder that nobody has named


def parser() -> argparse.ArgumentParser:
  """The command line, but for --config.field=value, which the config's own types parse."""
  result = commands.parser(
    'jaxgen.main',
    'Train, sample from, evaluate, explore or verify a deep generative model.',
    (
      '--config=experiments/ddpm.py',
      '--config=experiments/ddpm.py --help',
      '--config=experiments/vae.py:mnist --workdir=runs/mine --config.optimizer.learning_rate=3e-4',
      '--workdir=runs/mine',
      '--mode=sample --workdir=runs/mine --num_samples=1000',
      '--mode=evaluate --workdir=runs/mine --config.sampler.steps=50',
      '--mode=explore --workdir=runs/mine',
      '--mode=likelihood --workdir=runs/mine',
      '--mode=verify --workdir=runs/mine',
    ),
    add_help=False,
  )
  add = result.add_argument
  add('-h', '--help', action='store_true', help='with --config or --workdir, all fields too')
  add('--config', help='experiments/NAME.py or experiments/NAME.py:DATASET, a program that is run')
  add('--config.FIELD', metavar='VALUE', help='any field of it, as in --config.num_steps=500')
  add('--workdir', type=Path, help='folder of the run (default: runs/NAME-DATASET-seedN)')
  modes = ('train', 'sample', 'evaluate', 'explore', 'likelihood', 'verify')
  add('--mode', choices=modes, default='train', help='what to do; train resumes what was stopped')
  add('--init_from', type=Path, help='folder of a run to begin with, in training')
  add('--steps', type=int, help='of --mode=verify: the last ones, to be trained again')
  add('--num_samples', type=int, help='of --mode=sample (default: 100)')
  taken = 'of --mode=explore: of each split (default: all); of likelihood: of test (default: 100)'
  add('--num_images', type=int, help=taken)
  on = 'of --mode=likelihood: deviation of the noise on what a decoder without one of its own makes'
  add('--noise', type=float, help=on)
  more = 'of --mode=likelihood: the more, the nearer and slower (default: 500)'
  add('--temperatures', type=int, help=more)
  named = '7, or 0,1,2 in turn: what to sample, of a conditional model'
  add('--label', default='', help=named)
  add('--output', type=Path, help='.npz of --mode=sample (default: WORKDIR/samples.npz)')
  add('--parameters', choices=('ema', 'raw'), help='which to look at (default: ema)')
  add('--checkpoint', choices=('last', 'best'), help='which to look at (default: last)')
  add('--platform', help='cpu, gpu or tpu (default: the best there is)')
  add('--coordinator', help='HOST:PORT of process 0, to train in several processes')
  add('--num_processes', type=int, help='how many there are')
  add('--process_id', type=int, help='which of them this is, from 0')
  return result


def explain(options: argparse.Namespace, overrides: Sequence[str]) -> None:
  """Prints what --help says: the options, and all fields of a config where one is named.

  Raises:
    UserError: that config cannot be loaded.
  """
  print(parser().format_help())
  if not options.config and not options.workdir:
    print('--config=experiments/NAME.py --help lists all fields of an experiment')
    return
  config = configuration.load(options.config, options.workdir, overrides)
  said = fields.comments(Path(options.config.partition(':')[0])) if options.config else {}
  width = max(100, shutil.get_terminal_size().columns)
  print(
    f'fields of {options.config or options.workdir}, each set with --config.FIELD=VALUE; all of '
    'them made the model,\nbut those with a * may change when a run is resumed, sampled or '
    'evaluated, and the seed of samples too;\nwhere no rate is scheduled, num_steps may be raised\n'
  )
  print(fields.listing(dict(fields.flatten(config.to_dict())), said, width))


def labels(text: str) -> tuple[int, ...]:
  """Whole numbers with commas between them.

  Raises:
    UserError: something else.
  """
  try:
    return tuple(map(int, text.split(','))) if text else ()
  except ValueError as error:
    raise UserError(f'--label={text} must be a class, as in 7, or several, as in 0,1,2') from error


def check(options: argparse.Namespace) -> None:
  """Refuses an option of another mode, and a count that is none.

  Raises:
    UserError: with the option.
  """
  for option, modes in MODES_OF.items():
    value = getattr(options, option)
    if value in (None, ''):
      continue
    if options.mode not in modes:
      known = ' and '.join(f'--mode={mode}' for mode in modes)
      raise UserError(f'--{option}={value} is of {known}, not of {options.mode}')
    if isinstance(value, int) and value < 1:
      raise UserError(f'--{option}={value} must be positive')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the process's exit code."""
  options, overrides = parser().parse_known_args(arguments)
  logging.basicConfig(format='%(levelname)s: %(message)s', level=logging.WARNING)
  try:
    unknown = [a for a in overrides if a.startswith('-') and not a.startswith('--config.')]
    if unknown:
      raise UserError(
        f'unknown option {unknown[0]!r}; see --help. Fields are set as in --config.batch_size=32'
      )
    if options.help:
      explain(options, overrides)
      return 0
    place = processes.find(
      options.coordinator, options.num_processes, options.process_id, os.environ
    )
    if place.count > 1 and options.mode != 'train':
      raise UserError(f'--mode={options.mode} runs in one process, not in {place.count}')
    check(options)
    if options.init_from:
      overrides.append(f'--config.init_from={options.init_from.resolve()}')
    config = configuration.load(options.config, options.workdir, overrides)
    workdir = options.workdir or default_workdir(options.config, config)
    select_devices(options.platform, config, place)
    return run(options, config, workdir)
  except UserError as error:
    code, message = 2, str(error)
  except BrokenPipeError:
    silence()
    code, message = 128 + signal.SIGPIPE, ''
  except (OSError, MemoryError) as error:
    code, message = 2, f'{first_line(error)}; what was saved in the workdir before is kept'
  except KeyboardInterrupt:
    code, message = 130, 'interrupted; the last checkpoint is kept'
  except Exception as error:
    if not jax.distributed.is_initialized():
      raise
    code, message = 1, lost(error)
  if message:
    print(f'jaxgen: {message}', file=sys.stderr)
  processes.abandon(code)
  return code


def lost(error: Exception) -> str:
  """What one of several processes says of an error, which most likely is that of another."""
  if not isinstance(error, jax.errors.JaxRuntimeError) and 'Gloo' not in str(error):
    traceback.print_exception(error)
  reason = first_line(error)[:200]
  return (
    f'process {jax.process_index()} of {jax.process_count()} cannot go on: {reason}\nWhere another '
    'process has ended, that one has said why; the same command for all resumes.'
  )


def run(options: argparse.Namespace, config: ml_collections.ConfigDict, workdir: Path) -> int:
  """Dispatches on the mode. Imports wait until the devices are chosen."""
  # Tracing makes millions of objects that stay: searching them for garbage took a tenth of a start.
  gc.set_threshold(50_000)
  if fields.first_stage(config):
    from jaxgen.training.trained import complete

    try:
      complete(config, workdir)
    except processes.PeerFailed:
      return 2
  if options.mode == 'train':
    from jaxgen.training.loop import train
    from jaxgen.training.stopping import Stopped

    try:
      train(config, workdir)
    except Stopped as stopped:
      if processes.first():
        print(f'jaxgen: {stopped}; the same command resumes', file=sys.stderr)
      return stopped.exit_code
    except processes.PeerFailed:
      return 2
    return 0
  if options.mode == 'verify':
    from jaxgen.training.verify import verify

    same, sentence = verify(config, workdir, options.steps or 0)
    print(f'jaxgen: {sentence}', file=sys.stdout if same else sys.stderr)
    return 0 if same else 1
  parameters, checkpoint = options.parameters or 'ema', options.checkpoint or 'last'
  if options.mode == 'sample':
    from jaxgen.inference import sample

    chosen = parameters, checkpoint, options.output, labels(options.label)
    sample(config, workdir, options.num_samples or 100, *chosen)
  elif options.mode == 'explore':
    from jaxgen.latents.explore import write

    write(config, workdir, parameters, checkpoint, options.num_images or 0)
  elif options.mode == 'likelihood':
    from jaxgen.latents import likelihood

    likelihood.write(
      *(config, workdir, parameters, checkpoint),
      options.num_images or likelihood.IMAGES,
      options.noise,
      options.temperatures or likelihood.TEMPERATURES,
    )
  else:
    from jaxgen.inference import evaluate

    evaluate(config, workdir, checkpoint)
  return 0


def default_workdir(source: str, config: ml_collections.ConfigDict) -> Path:
  """runs/<experiment>-<dataset>-<what differs from the experiment's file>-seed<seed>.

  Fields that a run may resume with have no part in it; nor has its length, that it may exceed.
  """
  values, own = (
    dict(fields.flatten(one.to_dict())) for one in (config, configuration.execute(source))
  )
  apart = ('seed', 'num_steps', 'steps_per_call', 'data.name', *fields.FREE)
  words = [fields.experiment_of(source), config.data.name]
  if config.data.path and config.data.name in datasets.OWN:
    words.append(Path(config.data.path).stem)
  words += [
    f'{name.rpartition(".")[2]}={shown(value)}'
    for name, value in values.items()
    if value != own.get(name) and not name.startswith(apart)
  ]
  words = [re.sub(r'[^\w.=+-]', '_', word) for word in dict.fromkeys(words)]  # one folder of runs
  return Path('runs') / f'{"-".join(words)[:LONGEST]}-seed{config.seed}'


def shown(value: Any) -> str:
  """A field's value in the name of a folder: 64x128, and of a path the last part."""
  return 'x'.join(map(str, value)) if isinstance(value, tuple) else str(value).rpartition('/')[2]


def select_devices(
  platform: str | None, config: ml_collections.ConfigDict, place: processes.Place
) -> None:
  """Chooses JAX's platform and devices, turns on its compilation cache, meets the other processes.

  Raises:
    UserError: there is no such platform, or the others cannot come.
  """
  if platform:
    jax.config.update('jax_platforms', {'gpu': 'cuda'}.get(platform, platform))
  if jax.config.jax_num_cpu_devices < 1:  # nobody has told JAX, as JAX_NUM_CPU_DEVICES would
    jax.config.update('jax_num_cpu_devices', parallel.cpu_devices(config, place.count))
  cache = Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser() / 'jaxgen' / 'xla'
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    jax.config.update('jax_compilation_cache_dir', str(cache))
  processes.join(place)
  try:
    jax.devices()
  except RuntimeError as error:
    raise UserError(
      f'--platform={platform}: {first_line(error)} Choose cpu, gpu or tpu, as installed.'
    ) from error
  processes.check_devices()


if __name__ == '__main__':
  sys.exit(main())
