"""The experiment's config: from a file or a workdir, overridden, saved and compared."""

import difflib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from jaxgen.checks import check_values
from jaxgen.errors import UserError, meant, suggest
from jaxgen.fields import (
  FIRST_STAGES,
  FREE,
  experiment_of,
  flatten,
  for_another_sampler,
  meant_by,
  own_name,
)
from jaxgen.images import write_whole
from jaxgen.migration import modernise

FILE = 'config.json'
SHOWN = 8  # fields, of the many in which two configs may differ


def load(
  source: str | None, workdir: Path | None, overrides: Sequence[str]
) -> ml_collections.ConfigDict:
  """The config of a file `experiments/x.py[:argument]`, or else the one saved in the workdir.

  Args:
    source: what --config named, or None.
    workdir: where a config may have been saved.
    overrides: `--config.field=value` arguments, typed as the fields are.

  Raises:
    UserError: nothing to load, a file that fails, an unknown field, a value that cannot be.
  """
  if source is None and workdir is not None and not (workdir / FILE).exists():
    raise UserError(
      f'{workdir} holds no {FILE}, so it is not the folder of a run: name one with --workdir, or '
      'start one with --config=experiments/ddpm.py'
    )
  if source is None and workdir is None:
    raise UserError('name an experiment, as in --config=experiments/ddpm.py, or a --workdir')
  config = override(read(workdir) if source is None else execute(source), overrides)
  if source is not None and not config.get('experiment'):
    with config.unlocked():
      config.experiment = experiment_of(source)
  check_values(config)
  return config


def other_files(path: Path) -> str:
  """Ends a message about a config file that is not there: one of the same or a similar name.

  As well as in its own folder it is looked for in experiments/, and may be named by its stem alone.
  """
  folders = Path('experiments'), path.parent  # of two of the same name, the latter counts
  files = {p.stem: str(p) for folder in folders for p in folder.glob('*.py')}
  near = difflib.get_close_matches(path.stem, files, n=1)
  return meant([files[stem] for stem in near]) or (suggest(path.stem, files.values()) * bool(files))


def execute(source: str) -> ml_collections.ConfigDict:
  """Runs `get_config(argument)` of a Python file named as `path.py` or `path.py:argument`."""
  name, colon, argument = source.partition(':')
  path = Path(name)
  if not path.is_file():
    raise UserError(f'no config file {name!r}.{other_files(path)}')
  above = path.resolve().parent.parent  # so that `experiments.common` is found
  higher = [above.parent] if above.name == 'experiments' else []
  roots = [str(folder) for folder in (above, *higher, Path(__file__).parents[1])]
  sys.path[:0] = roots
  try:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(*([argument] if colon else []))
    if not isinstance(config, ml_collections.ConfigDict):
      raise TypeError(f'get_config returned {type(config).__name__}, not a ConfigDict')
    return config
  except UserError:
    raise
  except Exception as error:  # the file is the user's own program: whatever it raises is its fault
    raise UserError(f'config file {name}: {type(error).__name__}: {error}') from error
  finally:
    del sys.path[: len(roots)]


def override(
  config: ml_collections.ConfigDict, overrides: Sequence[str]
) -> ml_collections.ConfigDict:
  """Applies `--config.field=value` arguments, each typed as its field; the last of each counts."""
  known = dict(flatten(config.to_dict()))
  overrides = list({argument.partition('=')[0]: argument for argument in overrides}.values())
  for argument in overrides:
    field, equals, _ = argument.removeprefix('--config.').partition('=')
    if not argument.startswith('--config.'):
      continue
    section = field.rpartition('.')[0]
    if section and not any(name.startswith(f'{section}.') for name in known):
      raise UserError(
        f'unknown config field {field!r}: this experiment has no section {section!r}.'
        + suggest(section, {name.rpartition('.')[0] for name in known if '.' in name})
      )
    if field not in known:
      close = meant_by(field, known)
      among = '' if close else f' Known: {", ".join(known)}.'
      raise UserError(f'unknown config field {field!r}.{meant(close)}{among}')
    stage = field.partition('.')[0]
    if stage in FIRST_STAGES:
      raise UserError(
        f'config.{field} is of the trained {stage}, whose config comes with its parameters: name '
        f'another with --config.objective.{stage}=WORKDIR'
      )
    if not equals and not isinstance(known[field], bool):
      raise UserError(f'{argument} needs a value: write {argument}={known[field]}')
  overrides = [words_as_tuple(argument, known) for argument in overrides]
  flag_values, command = flags.FlagValues(), ['jaxgen', *overrides]
  try:
    config_flags.DEFINE_config_dict('config', config, flag_values=flag_values, sys_argv=command)
    stray = flag_values(command)[1:]
  except (flags.Error, TypeError, ValueError, AttributeError, KeyError) as error:
    raise UserError(mismatch(overrides, known) or str(error)) from error
  if stray:
    raise UserError(f'stray argument {stray[0]!r}: write overrides as --config.field=value')
  for field, value in flatten(flag_values.config.to_dict()):
    kinds = {type(item) for item in known[field]} if isinstance(value, tuple) else set()
    if kinds and not {type(item) for item in value} <= kinds:
      raise UserError(f'config.{field}={value!r} must hold items like those of {known[field]}')
  return for_another_sampler(flag_values.config, known, overrides)


def words_as_tuple(argument: str, known: dict[str, Any]) -> str:
  """The override of a tuple of words by a,b as that by ('a', 'b'), which is the library's way."""
  field, _, value = argument.removeprefix('--config.').partition('=')
  held = known.get(field)
  if not isinstance(held, tuple) or str not in map(type, held) or not value or value[0] in '(\'"':
    return argument
  return f'--config.{field}={tuple(value.split(","))}'


def mismatch(overrides: Sequence[str], known: dict[str, Any]) -> str | None:
  """A message about the first override whose value is not of its field's type."""
  for argument in overrides:
    field, _, value = argument.removeprefix('--config.').partition('=')
    kind = type(known.get(field))
    try:
      if kind in (int, float):
        kind(value)
      elif kind is bool and value.lower() not in ('', 'true', 'false', '1', '0', 't', 'f'):
        raise ValueError
    except ValueError:
      named = {int: 'a whole number', float: 'a number', bool: 'true or false'}[kind]
      return f'{argument}: {field} takes {named}, as in --config.{field}={known[field]}'
  return None


def read(workdir: Path) -> ml_collections.ConfigDict:
  """The config saved in a workdir: JSON, never executed."""
  path = workdir / FILE
  try:
    saved = json.loads(path.read_text())
    if not isinstance(saved, dict):
      raise TypeError(f'it holds {type(saved).__name__}, not a dict')
    return ml_collections.ConfigDict(tuples(modernise(saved)))
  except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
    raise UserError(f'cannot read {path}: {error}') from error


def tuples(value: Any) -> Any:
  """JSON's lists as the tuples that configs hold."""
  if isinstance(value, dict):
    return {name: tuples(item) for name, item in value.items()}
  return tuple(map(tuples, value)) if isinstance(value, list) else value


def agree(config: ml_collections.ConfigDict, workdir: Path, trained: bool = False) -> None:
  """Checks that a config can resume the run in a workdir, if there is one.

  A run may resume with other FREE fields. With constant learning rates it may also go on to a
  larger num_steps: no step depends on how many follow.

  Args:
    config: of what is to be done.
    workdir: where a run may be.
    trained: whether it is only sampled from or evaluated, for which another seed may be chosen.

  Raises:
    UserError: names the fields that differ and would change the run's results.
  """
  if not (workdir / FILE).exists():
    return
  different = differences(config, workdir, trained)
  if different:
    more = len(different) - SHOWN
    raise UserError(
      f'{workdir} holds a run with another config:\n'
      + '\n'.join(f'  {field}' for field in different[:SHOWN])
      + (f'\n  and {more} more' if more > 0 else '')
      + '\nUse another --workdir, or the config of that run.'
    )


def differences(
  config: ml_collections.ConfigDict, workdir: Path, trained: bool = False
) -> list[str]:
  """The fields in which a config parts from the run in a workdir, as `agree` sees it."""
  saved, wanted = (dict(flatten(c.to_dict())) for c in (read(workdir), config))
  free = FREE + (('num_steps',) if extends(saved, wanted) else ()) + ('seed',) * trained

  def shared(name: str) -> bool:
    return name in saved and name in wanted

  return [
    f'{name}: {saved.get(name)!r} there, {wanted.get(name)!r} now'
    for name in sorted(saved.keys() | wanted.keys(), key=lambda name: (not shared(name), name))
    if saved.get(name) != wanted.get(name) and not name.startswith(free)
  ]


def save(config: ml_collections.ConfigDict, workdir: Path) -> None:
  """Writes the resolved config to the workdir, if it agrees with the one that is there."""
  agree(config, workdir)
  write_whole(workdir / FILE, json.dumps(config.to_dict(), indent=2).encode())


def extends(saved: dict[str, Any], wanted: dict[str, Any]) -> bool:
  """Whether more steps are wanted than saved, and no rate is scheduled over their number."""
  own = {name: value for name, value in wanted.items() if name == own_name(name)}
  constant = all(
    value == 'constant' for name, value in own.items() if name.endswith('optimizer.schedule')
  )
  return constant and wanted['num_steps'] > saved.get('num_steps', 0)
