"""A study's config -> its cells, every one of them checked before anything runs.

A study is a Python file whose `get_config(dataset)` returns, by name (models and axes are shown in
the alphabet's order, for a ConfigDict sorts its keys; values of an axis as they are given):

  title: what it asks, in a line.
  models: name -> {experiment: file beside the study's, as '../vae.py:digits'; overrides: section}.
  overrides: of every model; `{'num_steps': 3000, 'evaluation': {'num_samples': 1000}}`.
  axes: name -> fields of the models' configs with a tuple of values each; the fields of one axis go
    together, the axes are crossed. One of `sampler` fields alone needs no training of its own.
  besides: name -> a value of each field of the axes that need no training: points off their grid,
    such as one with many steps to compare with; may be left out.
  seeds: of the trainings.
  numbers: what is wanted, as in 'fid_classifier' against the test split, 'train/fid_classifier',
    'raw/bits_per_dimension' of the raw parameters, or 'training_seconds'.
  x: the axis, 'model' or number along the plots; with a number, axes of numbers run along too.
  log: which of the axis and the numbers have a logarithmic scale.
"""

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from jaxgen import checks, configuration
from jaxgen.errors import UserError, suggest
from jaxgen.fields import flatten
from jaxgen.report.runs import ASIDE
from jaxgen.study.numbers import asks_for_raw

FIELDS = {
  **{'title': str, 'x': str, 'seeds': tuple, 'numbers': tuple, 'log': tuple},
  **dict.fromkeys(('models', 'overrides', 'axes', 'besides'), ml_collections.ConfigDict),
}
MODEL = 'model'
RAW = 'evaluation.raw'
COSTS = ('training_seconds', 'training_teraflops')  # stand in every table

Point = dict[str, Any]  # axis -> its value there, a number or a word


class Sampling(NamedTuple):
  """One evaluation of a trained model.

  Attributes:
    point: on the axes that need no training.
    arguments: of `jaxgen.main`, besides --mode=evaluate and the workdir.
    config: of the evaluation.
  """

  point: Point
  arguments: tuple[str, ...]
  config: ml_collections.ConfigDict


class Cell(NamedTuple):
  """One training run and its evaluations.

  Attributes:
    name: of its folder.
    model: its name in the study.
    point: on the axes that need training.
    seed: of the training.
    arguments: of `jaxgen.main`, besides the workdir.
    config: of the training.
    samplings: the evaluations.
  """

  name: str
  model: str
  point: Point
  seed: int
  arguments: tuple[str, ...]
  config: ml_collections.ConfigDict
  samplings: tuple[Sampling, ...]

  @property
  def words(self) -> str:
    """For the console."""
    return ' '.join([self.model, *(f'{a}={v}' for a, v in self.point.items()), f'seed {self.seed}'])


class Study(NamedTuple):
  """A study's config and what follows from it."""

  source: str  # what --config named
  config: ml_collections.ConfigDict
  cells: tuple[Cell, ...]
  overrides: tuple[str, ...]  # of the command line

  @property
  def command(self) -> str:
    """What makes it."""
    return shlex.join(['python', '-m', 'jaxgen.study', f'--config={self.source}', *self.overrides])


def load(source: str, overrides: Sequence[str]) -> Study:
  """The study of a file `experiments/studies/x.py[:dataset]`, overridden as experiments are.

  Raises:
    UserError: the file fails, or names a field, value or model that cannot be.
  """
  config = configuration.execute(source)
  with config.unlocked():
    config.besides = config.get('besides', ml_collections.ConfigDict())
  require_fields(config, source)
  config = configuration.override(config, overrides)
  require_values(config)
  folder = Path(source.partition(':')[0]).parent
  cells = tuple(cell for model in config.models for cell in cells_of(config, str(model), folder))
  names = [f'{c.name} {s.point or ""}'.rstrip() for c in cells for s in c.samplings]
  twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
  if twice:
    raise UserError(f'the cell {twice[0]} is there twice: give each point of the grid once')
  return Study(source, config, cells, tuple(overrides))


def require_fields(config: ml_collections.ConfigDict, source: str) -> None:
  """Raises UserError where a field of the study is missing, unknown or of another type."""
  for name in config:
    if name not in FIELDS:
      raise UserError(f'{source}: unknown field {name!r} of a study.{suggest(name, FIELDS)}')
  for name, kind in FIELDS.items():
    if not isinstance(config.get(name), kind):
      raise UserError(f'{source}: a study has a field {name!r}, of type {kind.__name__}')
  for name, model in config.models.items():
    if not isinstance(model, ml_collections.ConfigDict) or set(model) != {
      'experiment',
      'overrides',
    }:
      raise UserError(f'{source}: models.{name} must hold experiment and overrides, and no more')


def require_values(config: ml_collections.ConfigDict) -> None:
  """Raises UserError where the study would have no cells, no numbers, or no axis for its plots."""
  seeds = config.seeds
  if not seeds or len(set(seeds)) < len(seeds) or any(type(seed) is not int for seed in seeds):
    raise UserError(f'seeds={seeds} must be whole numbers, at least one and each once')
  if not config.models:
    raise UserError('the study has no models: name at least one experiment')
  if len(config.models) == 1 and not config.axes:
    raise UserError(
      'the grid is empty, for there is one model and no axis: add an axis, as in '
      "axes={'beta': {'objective': {'beta': (0.5, 1.0)}}}, or a second model"
    )
  for axis, section in config.axes.items():
    require_axis(axis, dict(flatten(section.to_dict())))
  free = {name for fields in axes_of(config, training=False).values() for name in fields}
  for section in config.besides.values():
    if (given := set(dict(flatten(section.to_dict())))) != free:
      raise UserError(
        f'besides has a point of {sorted(given)}, and the axes that need no training have the '
        f'fields {sorted(free)}: give a value of each of these'
      )
  if not config.numbers:
    raise UserError("the study has no numbers: name at least one, as in ('fid_classifier',)")
  places = [*config.axes, MODEL, *config.numbers, *COSTS]
  for field, named in (('x', (config.x,)), ('log', config.log)):
    for name in named:
      if name not in places:
        raise UserError(f'{field} names {name!r}, no axis or number here.{suggest(name, places)}')


def require_axis(axis: str, fields: dict[str, Any]) -> None:
  """Raises UserError where an axis has no values, or fields that are no axis."""
  if axis == MODEL:
    raise UserError(f'an axis cannot be called {MODEL!r}: the models are an axis of their own')
  if not fields:
    raise UserError(f'the axis {axis!r} is empty: give it a field with values, or remove it')
  for field, values in fields.items():
    if not isinstance(values, tuple) or not values:
      raise UserError(f'axes.{axis}.{field}={values!r} must be a tuple of at least one value')
    if field.startswith(ASIDE):
      raise UserError(
        f'axes.{axis}.{field}: runs that differ in {field} alone count as the same; put it into '
        'overrides' + ', or into seeds' * (field == 'seed')
      )
  if len(set(map(len, fields.values()))) > 1:
    lengths = ', '.join(f'{field} {len(values)}' for field, values in fields.items())
    raise UserError(
      f'the fields of the axis {axis!r} go together, and have other lengths: {lengths}'
    )


def trains(fields: dict[str, Any]) -> bool:
  """Whether an axis of these fields needs a training run for each value."""
  return not all(field.startswith('sampler.') for field in fields)


def axes_of(config: ml_collections.ConfigDict, training: bool) -> dict[str, dict[str, Any]]:
  """The fields of the axes that need training, or of those that do not, with their values."""
  axes = {axis: dict(flatten(section.to_dict())) for axis, section in config.axes.items()}
  return {axis: fields for axis, fields in axes.items() if trains(fields) == training}


def points(
  config: ml_collections.ConfigDict, training: bool
) -> Iterator[tuple[Point, dict[str, Any]]]:
  """Every point on the axes that need training, or on those that do not, and its fields.

  Those that need none come with the points besides the grid.
  """
  axes = axes_of(config, training)
  counts = [range(len(next(iter(fields.values())))) for fields in axes.values()]
  for places in itertools.product(*counts):
    at = list(zip(axes.items(), places, strict=True))
    yield (
      {axis: labels(axis, fields)[place] for (axis, fields), place in at},
      {name: values[place] for (_, fields), place in at for name, values in fields.items()},
    )
  for section in () if training else config.besides.values():
    chosen = dict(flatten(section.to_dict()))
    yield {axis: label_beside(axis, fields, chosen) for axis, fields in axes.items()}, chosen


def label_beside(axis: str, fields: dict[str, tuple[Any, ...]], chosen: Mapping[str, Any]) -> Any:
  """What an axis calls a point beside the grid: as on it, where it has that value."""
  grid, value = list(zip(*fields.values(), strict=True)), tuple(chosen[name] for name in fields)
  if value in grid:
    return labels(axis, fields)[grid.index(value)]
  return labels(axis, {name: (*values, chosen[name]) for name, values in fields.items()})[-1]


def labels(axis: str, fields: dict[str, tuple[Any, ...]]) -> list[Any]:
  """What an axis calls its values: those of the field of its own name, or of the first other one.

  The field must tell them apart; where none does, those of all fields.
  """
  own = [values for field, values in fields.items() if field.rpartition('.')[2] == axis]
  for values in (*own, *fields.values()):
    if len(set(values)) == len(values):
      return [value if isinstance(value, int | float) else str(value) for value in values]
  return [' '.join(map(str, values)) for values in zip(*fields.values(), strict=True)]


def cells_of(config: ml_collections.ConfigDict, model: str, folder: Path) -> Iterator[Cell]:
  """The cells of one model.

  Raises:
    UserError: an override that its experiment does not take.
  """
  section = config.models[model]
  source = os.path.relpath(folder / section.experiment)
  fixed = dict(flatten(config.overrides.to_dict())) | dict(flatten(section.overrides.to_dict()))
  averaged = {} if RAW in fixed or asks_for_raw(config.numbers) else {RAW: False}
  for point, fields in points(config, training=True):
    for seed in config.seeds:
      arguments = (f'--config={source}', *written(fixed | fields | {'seed': seed}))
      used = checked(model, source, arguments[1:])
      at = points(config, training=False)
      looks = [(free, written(chosen | averaged)) for free, chosen in at]
      samplings = tuple(
        Sampling(free, look, checked(model, source, arguments[1:] + look)) for free, look in looks
      )
      words = [model, *(f'{axis}{value}' for axis, value in point.items()), f'seed{seed}']
      name = '-'.join(re.sub(r'[^\w.+-]', '_', word) for word in words)
      yield Cell(name, model, point, seed, arguments, used, samplings)


def checked(model: str, source: str, overrides: Sequence[str]) -> ml_collections.ConfigDict:
  """The config of a cell. Raises UserError, naming the model, where it cannot be."""
  try:
    config = configuration.load(source, None, overrides)
    checks.check_division(config, 1)
    return config
  except UserError as error:
    raise UserError(f'model {model!r} of the study: {error}') from error


def written(fields: dict[str, Any]) -> tuple[str, ...]:
  """Fields as a command line has them."""
  return tuple(f'--config.{name}={value}' for name, value in fields.items())


def part(cells: Sequence[Cell], text: str) -> tuple[Cell, ...]:
  """The cells of a part K/N, of which all N together have each once.

  In the order to run them: seed by seed, so that the whole grid is there early. A place of the grid
  goes to another part with each seed, for some cost more than others.

  Raises:
    UserError: there is no such part.
  """
  found = re.fullmatch(r'(\d+)/(\d+)', text)
  number, of = map(int, found.groups()) if found else (0, 0)
  if not 1 <= number <= of:
    raise UserError(f'--part={text} must be K/N with K from 1 to N, as in --part=2/8')
  in_turn = sorted(cells, key=lambda cell: cell.seed)
  places = len(cells) // len({cell.seed for cell in cells})
  shift = int(places % of == 0)  # else the places shift by themselves
  return tuple(c for k, c in enumerate(in_turn) if (k + k // places * shift) % of == number - 1)
