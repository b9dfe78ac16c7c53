"""What a report knows of a run: everything in its workdir, read and never written."""

import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen import configuration
from jaxgen.errors import UserError
from jaxgen.evaluation.protocol import Number, of_a_plot, sampler_name
from jaxgen.fields import FREE, flatten
from jaxgen.migration import OWN_DEFAULTS, modernise
from jaxgen.training.writer import METRICS, SCORE, parse

SHEETS = {
  'samples': ('figures/samples.png', 'grid.png'),
  'neighbours': ('figures/neighbours{variant}.png',),
}

# Fields in which the runs of one group may differ: where data lie, and what is watched. How they
# were sampled is no such field, though it may change after training.
ASIDE = ('seed', *(f for f in FREE if not f.startswith('sampler.')))
# But for those on which held-out means depend under one name.
MEASURED_BY = 'evaluation.inference_steps', 'evaluation.likelihood_steps'
LAST = 'last'  # the checkpoint that is reported, as in `checkpoint`, which would import Orbax


class Run(NamedTuple):
  """One workdir under one sampler.

  Attributes:
    folder: the workdir.
    config: dotted names -> values, the sampler's as it was evaluated.
    records: the lines of metrics.jsonl.
    evaluation: what an evaluation of the last checkpoint found, {} where there is none.
    numbers: 'ema' and 'raw' -> scores with their protocols; 'real' -> those of real images.
    start: of the last entry in run.json: versions, devices, revision.
    pictures: 'samples', 'neighbours' -> PNG file.
    notes: what is missing, and what to do about it.
    class_names: what the data's classes are called; () where that is not known.
    image_shape: (H, W, C); () where that is not known.
  """

  folder: Path
  config: dict[str, Any]
  records: list[dict[str, Any]]
  evaluation: dict[str, Any]
  numbers: dict[str, list[Number]]
  start: dict[str, Any]
  pictures: dict[str, bytes]
  notes: list[str]
  class_names: tuple[str, ...] = ()
  image_shape: tuple[int, ...] = ()

  @property
  def name(self) -> str:
    """Of the folder."""
    return self.folder.name

  @property
  def experiment(self) -> str:
    """The name of the experiment's file; of older runs, that of the objective."""
    return self.config.get('experiment') or self.config['objective.name']

  @property
  def sampler(self) -> str:
    """How samples were drawn, '' of a model with one way only."""
    start = 'sampler.'
    fields = {k.removeprefix(start): v for k, v in self.config.items() if k.startswith(start)}
    return sampler_name(fields)

  @property
  def command(self) -> str:
    """Of the last start of its training, for a shell."""
    return shlex.join(map(str, self.start.get('command', [])))

  @property
  def made_with(self) -> str:
    """Versions, revision and machine of the last start of its training."""
    known = {'jaxgen': 'unknown', 'git': 'unknown', 'python': 'unknown'} | self.start
    versions = as_dict(known.get('packages'))
    packages = ''.join(f', {package} {version}' for package, version in versions.items())
    devices = ', '.join(map(str, known.get('devices', [])))
    cores = f'; {known["processor"]}, cores: {known.get("cores")}' if 'processor' in known else ''
    return (
      f'jaxgen {known["jaxgen"]}, revision {known["git"]}, Python {known["python"]}{packages}; '
      f'{devices}{cores}'
    )

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
    """Fréchet distances scored during training: (protocol without its seed and sampler, sampler)
    -> seconds of training, distances.
    """
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for record in self.records:
      for name, value in record.items():
        if name.startswith(f'{SCORE}fid_') and isinstance(value, int | float):
          protocol, sampler = of_a_plot(name.removeprefix(SCORE))
          if ':' not in protocol.partition('@')[0]:  # version 1 did not name the features
            protocol = f'{protocol} of {self.name}'
          seconds, values = found.setdefault((protocol, sampler), ([], []))
          seconds.append(self.seconds_until(record['step']))
          values.append(value)
    return found

  @property
  def group(self) -> tuple[tuple[str, str], ...]:
    """Equal for runs that differ in nothing but the seed."""
    return tuple(sorted((k, repr(v)) for k, v in self.config.items() if not aside(k)))


def aside(field: str) -> bool:
  """Whether runs that differ in this field alone count as the same."""
  return field.startswith(ASIDE) and field not in MEASURED_BY


def read(workdir: Path) -> list[Run]:
  """Reads a workdir, finished or not: a run for each sampler that it was evaluated under.

  Raises:
    UserError: it is no run's folder, or nothing was trained in it yet.
  """
  if not workdir.is_dir():
    raise UserError(f'{workdir} is no folder')
  if not (workdir / configuration.FILE).exists():
    raise UserError(f'{workdir} holds no {configuration.FILE}: it is not the folder of a run')
  config = dict(flatten(configuration.read(workdir).to_dict()))
  absent = {'batch_size', 'num_steps', 'objective.name', 'data.name', 'seed'} - config.keys()
  if absent:
    raise UserError(f'{workdir / configuration.FILE} lacks {", ".join(sorted(absent))}')
  path = workdir / METRICS
  lines = path.read_text(errors='replace').split('\n') if path.exists() else []
  records = [record for record in map(parse, lines) if record is not None]
  if not records:
    raise UserError(f'{workdir} has no record of training yet: train it first, or leave it out')
  damage: list[str] = []
  record = read_json(workdir / 'run.json', damage)
  content = as_dict(record.get('data')).get('sha256 of some of them')
  if content:
    config['data.sha256'] = content  # folders of one name may hold other images
  starts = record.get('starts')
  start = starts[-1] if isinstance(starts, list) and starts else {}
  start = start if isinstance(start, dict) else {}
  names = record.get('class_names')
  names = tuple(map(str, names)) if isinstance(names, list) else ()
  shape = record.get('image_shape')
  shape = tuple(shape) if isinstance(shape, list) else ()
  runs = []
  for variant, evaluation in (evaluations(workdir, damage) or {'': {}}).items():
    notes = list(damage)
    numbers = read_numbers(evaluation, notes)
    used = as_evaluated(config, evaluation)
    shown = pictures(workdir, variant)
    about = start, shown, notes, names, shape
    run = Run(workdir.resolve(), used, records, evaluation, numbers, *about)
    notes += remarks(run, workdir)
    runs.append(run)
  return runs


def evaluations(workdir: Path, notes: list[str]) -> dict[str, dict[str, Any]]:
  """What was found of the last checkpoint, once for each sampler; damaged files are noted.

  Returns:
    What the name of its file ends on, '' or '-ddim' -> the evaluation.
  """
  paths = [workdir / 'evaluation.json', *sorted(workdir.glob('evaluation-*.json'))]
  found = {path.stem.removeprefix('evaluation'): read_json(path, notes) for path in paths}
  by_sampler: dict[str, str] = {}
  for variant, one in found.items():
    if one and one.get('checkpoint', LAST) == LAST:
      by_sampler.setdefault(json.dumps(one.get('sampler'), sort_keys=True), variant)
  return {variant: found[variant] for variant in by_sampler.values()}


def as_evaluated(config: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, Any]:
  """The config with which it was evaluated; older ones kept the sampler among `objective`."""
  name = {'name': config['objective.name']}
  parts = ('objective', 'sampler', 'evaluation')
  objective, sampler, looked = (as_dict(evaluation.get(part)) for part in parts)
  found = modernise({'objective': name | objective, 'sampler': sampler, 'evaluation': looked})
  unsaid = OWN_DEFAULTS.get(config['objective.name'], {})
  trained = 'sampler.' if sampler else ()
  used = {name: value for name, value in config.items() if not name.startswith(trained)}
  for name in ('classifier_weights', 'raw'):  # no fields of older evaluations
    if name not in looked:
      del found['evaluation'][name]
  for section in ('sampler', 'objective', 'evaluation'):
    for field, value in found[section].items():
      name = f'{section}.{field}'
      if name in used and name in unsaid and field not in as_dict(evaluation.get(section)):
        continue  # the run knows better than what was so before it could be chosen
      if json.dumps(value) != json.dumps(used.get(name)):  # lists are no other tuples
        used[name] = value
  return used


def as_dict(found: Any) -> dict[str, Any]:
  """A section of a JSON file, {} where it is something else."""
  return found if isinstance(found, dict) else {}


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
  """The scores of averaged and raw parameters and of real images; damaged ones are noted."""
  found: dict[str, list[Number]] = {'ema': [], 'raw': [], 'real': []}
  scores = as_dict(evaluation.get('ema_scores'))
  sections = {
    'ema': scores,
    'raw': as_dict(evaluation.get('raw_scores')),
    'real': as_dict(scores.get('real')),
  }
  for name, numbers in found.items():
    try:
      numbers.extend(Number.from_json(n) for n in sections[name].get('numbers', []))
    except (ValueError, TypeError, AttributeError) as error:
      notes.append(f'evaluation.json: {error}')
  return found


def pictures(workdir: Path, variant: str) -> dict[str, bytes]:
  """The first that exists of each kind of sheet, for this variant of the evaluation."""
  found = {}
  for kind, names in SHEETS.items():
    for name in names:
      path = workdir / name.format(variant=variant)
      if kind not in found and path.is_file():
        found[kind] = path.read_bytes()
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
  if run.evaluation and not run.numbers['ema']:
    found.append(f'evaluated without samples: set config.evaluation.num_samples and {again}')
  classes = as_dict(as_dict(run.evaluation.get('ema_scores')).get('classes'))
  if 'reason' in classes:
    found.append(f'class numbers are left out: {classes["reason"]}')
  return found
