"""What a report knows of a run: everything in its workdir, read and never written."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen import configuration
from jaxgen.errors import UserError
from jaxgen.protocol import Number
from jaxgen.writer import METRICS, SCORE, parse

SHEETS = {'samples': ('figures/samples.png', 'grid.png'), 'neighbours': ('figures/neighbours.png',)}

# Fields in which the runs of one group may differ: where data lie, and what is watched.
ASIDE = ('seed', *configuration.FREE)


class Run(NamedTuple):
  """One workdir.

  Attributes:
    name: of its folder.
    config: dotted names -> values.
    records: the lines of metrics.jsonl.
    evaluation: what evaluation.json holds, {} where there is none.
    numbers: 'ema' and 'raw' -> scores with their protocols.
    start: of the last entry in run.json: versions, devices, revision.
    pictures: 'samples', 'neighbours' -> PNG file.
    notes: what is missing, and what to do about it.
  """

  name: str
  config: dict[str, Any]
  records: list[dict[str, Any]]
  evaluation: dict[str, Any]
  numbers: dict[str, list[Number]]
  start: dict[str, Any]
  pictures: dict[str, bytes]
  notes: list[str]

  @property
  def step(self) -> int:
    """The last step on record."""
    return max((record['step'] for record in self.records), default=0)

  @property
  def training_seconds(self) -> float:
    """Time spent in updates, from the speeds on record."""
    return self.seconds_until(self.step)

  def seconds_until(self, step: int) -> float:
    """Time spent in the updates up to a step."""
    seconds, before = 0.0, 0
    for record in self.records:
      if record.get('images_per_second') and record['step'] <= step:
        images = (record['step'] - before) * self.config['batch_size']
        seconds, before = seconds + images / record['images_per_second'], record['step']
    return seconds

  def distances(self) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """Fréchet distances scored during training: (protocol without its seed, hash of the features)
    -> seconds of training, distances.
    """
    features = {n.protocol.metric: n.protocol.fingerprint for n in self.numbers['ema']}
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for record in self.records:
      for name, value in record.items():
        if name.startswith(f'{SCORE}fid_') and isinstance(value, int | float):
          protocol = re.sub(r' seed=\d+]$', ']', name.removeprefix(SCORE))
          key = protocol, features.get(protocol.partition('@')[0], '')
          seconds, values = found.setdefault(key, ([], []))
          seconds.append(self.seconds_until(record['step']))
          values.append(value)
    return found

  @property
  def group(self) -> tuple[tuple[str, str], ...]:
    """Equal for runs that differ in nothing but the seed."""
    return tuple(sorted((k, repr(v)) for k, v in self.config.items() if not k.startswith(ASIDE)))


def read(workdir: Path) -> Run:
  """Reads a workdir, finished or not.

  Raises:
    UserError: it is no run's folder, or nothing was trained in it yet.
  """
  if not workdir.is_dir():
    raise UserError(f'{workdir} is no folder')
  if not (workdir / configuration.FILE).exists():
    raise UserError(f'{workdir} holds no {configuration.FILE}: it is not the folder of a run')
  config = dict(configuration.flatten(configuration.read(workdir).to_dict()))
  absent = {'batch_size', 'num_steps', 'objective.name', 'data.name', 'seed'} - config.keys()
  if absent:
    raise UserError(f'{workdir / configuration.FILE} lacks {", ".join(sorted(absent))}')
  path = workdir / METRICS
  lines = path.read_text(errors='replace').split('\n') if path.exists() else []
  records = [record for record in map(parse, lines) if record is not None]
  if not records:
    raise UserError(f'{workdir} has no record of training yet: train it first, or leave it out')
  notes: list[str] = []
  evaluation = read_json(workdir / 'evaluation.json', notes)
  numbers = read_numbers(evaluation, notes)
  starts = read_json(workdir / 'run.json', notes).get('starts')
  start = starts[-1] if isinstance(starts, list) and starts else {}
  run = Run(
    workdir.resolve().name,
    config,
    records,
    evaluation,
    numbers,
    start if isinstance(start, dict) else {},
    pictures(workdir),
    notes,
  )
  notes += remarks(run, workdir)
  return run


def read_json(path: Path, notes: list[str]) -> dict[str, Any]:
  """What a JSON file holds; {} where there is none, or it is damaged, which is noted."""
  if not path.exists():
    return {}
  try:
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
      raise TypeError(f'it holds {type(found).__name__}, not a dict')
    return found
  except (OSError, ValueError, TypeError, RecursionError) as error:
    notes.append(f'{path.name} cannot be read: {error}')
    return {}


def read_numbers(evaluation: dict[str, Any], notes: list[str]) -> dict[str, list[Number]]:
  """The scores of averaged and raw parameters; damaged ones are noted."""
  found: dict[str, list[Number]] = {'ema': [], 'raw': []}
  for name, numbers in found.items():
    try:
      stored = evaluation.get(f'{name}_scores', {}).get('numbers', [])
      numbers.extend(Number.from_json(number) for number in stored)
    except (ValueError, TypeError, AttributeError) as error:
      notes.append(f'evaluation.json: {error}')
  return found


def pictures(workdir: Path) -> dict[str, bytes]:
  """The first that exists of each kind of sheet."""
  found = {}
  for kind, names in SHEETS.items():
    for name in names:
      if kind not in found and (workdir / name).is_file():
        found[kind] = (workdir / name).read_bytes()
  return found


def remarks(run: Run, workdir: Path) -> list[str]:
  """What is unfinished about a run."""
  found = []
  wanted = run.config['num_steps']
  if run.step < wanted:
    found.append(f'unfinished: step {run.step} of {wanted}')
  again = f'run python -m jaxgen.main --mode=evaluate --workdir={workdir}'
  if not run.evaluation:
    found.append(f'not evaluated yet: {again}')
  elif run.evaluation.get('step') != run.step:
    found.append(f'evaluated at step {run.evaluation.get("step")}, trained since: {again}')
  used = run.evaluation.get('objective')
  other = [
    f'objective.{name}={value!r}'
    for name, value in (used.items() if isinstance(used, dict) else ())
    if value != run.config.get(f'objective.{name}', value)
  ]
  if other:
    found.append(f'evaluated with {", ".join(other)}')
  if run.evaluation and not run.numbers['ema']:
    found.append(f'evaluated without samples: set config.evaluation.num_samples and {again}')
  classes = run.evaluation.get('ema_scores', {}).get('classes', {})
  if 'reason' in classes:
    found.append(f'class numbers are left out: {classes["reason"]}')
  return found
