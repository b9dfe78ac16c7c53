"""The experiment's config: from a file or a workdir, overridden, checked, saved and compared."""

import difflib
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from jaxgen.errors import UserError, suggest
from jaxgen.images import write_whole

FILE = 'config.json'

# Fields that change what is watched and kept, not what is computed: a run may resume with others.
FREE = ('log_every', 'checkpoint.', 'evaluation.')


def load(
  source: str | None, workdir: Path | None, overrides: Sequence[str]
) -> ml_collections.ConfigDict:
  """The config of a file `experiments/x.py[:argument]`, or else the one saved in the workdir.

  Args:
    source: what --config named, or None.
    workdir: where a config may have been saved.
    overrides: `--config.field=value` arguments, typed as the fields are.

  Raises:
    UserError: nothing to load, a file that fails, an unknown field, a value of another type.
  """
  if source is None and workdir is not None and not (workdir / FILE).exists():
    raise UserError(
      f'{workdir} holds no {FILE}, so it is not the folder of a run: name one with --workdir, or '
      'start one with --config=experiments/ddpm.py'
    )
  if source is None and workdir is None:
    raise UserError('name an experiment, as in --config=experiments/ddpm.py, or a --workdir')
  config = read(workdir) if source is None else execute(source)
  return override(config, overrides)


def execute(source: str) -> ml_collections.ConfigDict:
  """Runs `get_config(argument)` of a Python file named as `path.py` or `path.py:argument`."""
  name, colon, argument = source.partition(':')
  path = Path(name)
  if not path.is_file():
    here = [str(p) for p in Path(path.parent).glob('*.py')] if path.parent.is_dir() else []
    raise UserError(f'no config file {name!r}.{suggest(name, here)}')
  sys.path.insert(0, str(path.resolve().parent.parent))  # so that `experiments.common` is found
  try:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*([argument] if colon else []))
  except UserError:
    raise
  except Exception as error:  # the file is the user's own program: whatever it raises is its fault
    raise UserError(f'config file {name}: {type(error).__name__}: {error}') from error
  finally:
    sys.path.pop(0)


def override(
  config: ml_collections.ConfigDict, overrides: Sequence[str]
) -> ml_collections.ConfigDict:
  """Applies `--config.field=value` arguments, each typed as the field is."""
  known = dict(flatten(config.to_dict()))
  for argument in overrides:
    field = argument.partition('=')[0].removeprefix('--config.')
    if argument.startswith('--config.') and field not in known:
      close = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
      meant = f' Did you mean {close[0]!r}?' if close else ''
      raise UserError(f'unknown config field {field!r}.{meant} Known: {", ".join(known)}.')
  values, command = flags.FlagValues(), ['jaxgen', *overrides]
  config_flags.DEFINE_config_dict('config', config, flag_values=values, sys_argv=command)
  try:
    stray = values(command)[1:]
  except (flags.Error, TypeError, ValueError) as error:
    raise UserError(str(error)) from error
  if stray:
    raise UserError(f'stray argument {stray[0]!r}: write overrides as --config.field=value')
  return values.config


def flatten(tree: dict[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
  """A nested dict as (dotted name, value) pairs."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from flatten(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value


def validate(config: ml_collections.ConfigDict, devices: int) -> None:
  """Checks sizes and their divisibility before anything is read, compiled or written.

  Raises:
    UserError: names the field, its value and what would do.
  """
  for name, value in flatten(config.to_dict()):
    positive = name.startswith('network.') or name in POSITIVE
    for number in value if isinstance(value, tuple) else (value,):
      if isinstance(number, bool | str | float):
        continue
      if number < (1 if positive else 0):
        least = 'positive' if positive else 'zero or positive'
        raise UserError(f'config.{name}={value} must be {least}')
  if not 0.0 <= config.ema_decay < 1.0:
    raise UserError(f'config.ema_decay={config.ema_decay} must lie in [0, 1)')
  steps = config.steps_per_call
  for name in ('num_steps', 'log_every', 'checkpoint.every', 'evaluation.every'):
    value = dict(flatten(config.to_dict()))[name]
    if value % steps:
      raise UserError(
        f'config.{name}={value} must be a multiple of config.steps_per_call={steps}, the updates '
        'done in one dispatch'
      )
  share = devices * config.objective.get('critic_steps', 1)
  if config.batch_size % share:
    fitting = max(share, config.batch_size // share * share)
    raise UserError(
      f'config.batch_size={config.batch_size} cannot be divided among {devices} devices'
      + (f' and {share // devices} critic steps' if share > devices else '')
      + f': use {fitting} or another multiple of {share}'
    )


POSITIVE = ('num_steps', 'batch_size', 'steps_per_call', 'log_every', 'evaluation.batch_size')


def read(workdir: Path) -> ml_collections.ConfigDict:
  """The config saved in a workdir: JSON, never executed."""
  path = workdir / FILE
  try:
    return ml_collections.ConfigDict(tuples(json.loads(path.read_text())))
  except (OSError, ValueError, AttributeError) as error:
    raise UserError(f'cannot read {path}: {error}') from error


def tuples(value: Any) -> Any:
  """JSON's lists as the tuples that configs hold."""
  if isinstance(value, dict):
    return {name: tuples(item) for name, item in value.items()}
  return tuple(map(tuples, value)) if isinstance(value, list) else value


def save(config: ml_collections.ConfigDict, workdir: Path) -> None:
  """Writes the resolved config to the workdir.

  Raises:
    UserError: the workdir holds a run whose config differs in a field that changes its results.
  """
  if (workdir / FILE).exists():
    saved, wanted = (dict(flatten(c.to_dict())) for c in (read(workdir), config))
    different = [
      f'  {name}: {saved.get(name)!r} there, {wanted.get(name)!r} now'
      for name in sorted(saved.keys() | wanted.keys())
      if saved.get(name) != wanted.get(name) and not name.startswith(FREE)
    ]
    if different:
      raise UserError(
        f'{workdir} holds a run with another config:\n'
        + '\n'.join(different)
        + '\nUse another --workdir, or the config of that run.'
      )
  write_whole(workdir / FILE, json.dumps(config.to_dict(), indent=2).encode())
