"""Runs -> one self-contained page of HTML."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from jaxgen.report.film import films
from jaxgen.report.groups import Groups, differences, group, repeated
from jaxgen.report.plots import (
  MOST_CURVES,
  Curves,
  Plot,
  curves,
  data_uri,
  distance_over_time,
  histogram,
)
from jaxgen.report.runs import Run, as_dict
from jaxgen.report.summaries import Summary
from jaxgen.report.tables import numbers, tables
from jaxgen.training.writer import TRAIN, VALIDATION
from jaxgen.version import __version__

TEMPLATE = Path(__file__).with_name('template.html')


def curves_of(runs: Sequence[Run]) -> list[Plot]:
  """A plot of each metric of training and validation that was logged at two steps or more."""
  panels: dict[str, Curves] = {}
  for kind, prefix in (('training', TRAIN), ('validation', VALIDATION)):
    names = dict.fromkeys(
      name
      for run in runs
      for record in run.records
      for name in record
      if name.startswith(prefix) and not name.endswith('_norm')
    )
    for name in names:
      for run in runs:
        points = [(r['step'], r[name]) for r in run.records if numbers([r.get(name)])]
        if len(points) > 1:
          kinds = panels.setdefault(name.removeprefix(prefix), {})
          kinds.setdefault(kind, []).append(tuple(map(list, zip(*points, strict=True))))
  return [curves(name, kinds) for name, kinds in panels.items()]


def classes_of(run: Run) -> dict[str, Any] | None:
  """The class histogram against the data's; the distance of each class, of samples and of data."""
  scores = as_dict(run.evaluation.get('ema_scores'))
  classes = as_dict(scores.get('classes'))
  made, data = classes.get('histogram'), as_dict(classes.get('data')).get('test')
  if not made or not data:
    return None
  shares = [[count / max(1, sum(counts)) for count in counts] for counts in (made, data)]
  distances = as_dict(as_dict(classes.get('fid')).get('test'))
  real = as_dict(as_dict(as_dict(scores.get('real')).get('fid')).get('test'))
  reasons = as_dict(as_dict(classes.get('fid_reasons')).get('test'))
  return {
    'run': run.name,
    'sampler': run.sampler,
    'plot': histogram(*shares, [class_name(run, k) for k in range(len(made))]),
    'missing': [class_name(run, k) for k in as_dict(classes.get('missing')).get('test', [])],
    'fid': [
      (class_name(run, label), Summary(found).text, real_distance(real.get(label)).text)
      for label, found in distances.items()
    ],
    'reasons': {class_name(run, label): reason for label, reason in reasons.items()},
  }


def class_name(run: Run, label: Any) -> str:
  """What a class is called, its number where nobody has said it."""
  number = int(label) if str(label).isdecimal() else len(run.class_names)
  return run.class_names[number] if number < len(run.class_names) else str(label)


def real_distance(found: Any) -> Summary:
  """Mean, deviation and number of sets of real images, as `measure.Real` keeps them."""
  if not isinstance(found, list) or len(found) != 3 or len(numbers(found)) != 3:
    return Summary()
  mean, spread, sets = found
  return Summary(mean, spread if sets > 1 else None)


def once(groups: Groups) -> Groups:
  """The groups with each workdir in the first of them only, for what is of its training."""
  seen: set[Path] = set()
  found: Groups = {}
  for name, runs in groups.items():
    new = [run for run in runs if run.folder not in seen]
    seen |= {run.folder for run in new}
    if new:
      found[name] = new
  return found


def over_time(groups: Groups) -> list[Plot]:
  """The Fréchet distances scored during training against its time: a plot for each protocol."""
  found: dict[str, dict[str, list[tuple[list[float], list[float]]]]] = {}
  for name, runs in groups.items():
    for run in runs:
      for (protocol, sampler), points in run.distances().items():
        line = f'{name}, {sampler}' if sampler and sampler not in name else name
        found.setdefault(protocol, {}).setdefault(line, []).append(points)
  return [distance_over_time(lines, protocol) for protocol, lines in found.items()]


def head(runs: Sequence[Run]) -> str:
  """What stands below the name of a column: the sampler, and the step of the parameters."""
  steps = sorted(set(numbers(run.evaluation.get('step') for run in runs)))
  said = f'step{"s" if len(steps) > 1 else ""} {", ".join(map(str, steps))}'
  return ', '.join(part for part in (runs[0].sampler, said if steps else 'not evaluated') if part)


def missing(runs: Sequence[Run]) -> dict[tuple[str, str], None]:
  """Why real images stand beside no number: (which, reason)."""
  found = {}
  for run in runs:
    real = as_dict(as_dict(run.evaluation.get('ema_scores')).get('real'))
    for split, reason in as_dict(real.get('reasons')).items():
      found[f'real images against the {split} split', str(reason)] = None
  return found


def of_each(groups: Groups, trained: Groups) -> dict[str, Any]:
  """What runs.html shows of the runs one by one."""
  every = {run.folder: run for runs in trained.values() for run in runs}.values()
  found = {name: curves_of(runs) for name, runs in trained.items()}
  return {
    'films': [(run.name, drawn) for run in every if (drawn := films(run.folder))],
    'curves': {
      name: (plots[:MOST_CURVES], plots[MOST_CURVES:]) for name, plots in found.items() if plots
    },
    'classes': [found for runs in groups.values() for run in runs if (found := classes_of(run))],
  }


def environment() -> jinja2.Environment:
  """Of this page's template and of others' that share its style."""
  found = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATE.parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  found.globals['data_uri'] = data_uri
  return found


def page(
  runs: Sequence[Run],
  problems: Sequence[str] = (),
  groups: Groups | None = None,
  study: dict[str, Any] | None = None,
) -> str:
  """The whole page as HTML.

  Args:
    runs: what is compared.
    problems: what could not be read.
    groups: of the runs, under names of the study's, in place of those that their configs give.
    study: title, plots and table to begin with, where the runs are those of a study; what is of
      one run alone is left out then.
  """
  if groups is None:
    groups = group(runs)
  else:
    runs = [run for members in groups.values() for run in members]
  trained = once(groups)
  sections = tables(groups)
  rows = [row for section in sections for row in section['rows']]
  reasons = dict.fromkeys(
    (row.protocol, summary.reason) for row in rows for summary in row.summaries if summary.reason
  )
  template = environment().from_string(TEMPLATE.read_text())
  return template.render(
    groups=groups,
    models=len(trained),
    heads={name: head(members) for name, members in groups.items()},
    runs=list({run.folder: run for run in reversed(runs)}.values())[::-1],
    problems=problems if study else [f'Left out: {p}' for p in (*problems, *repeated(runs))],
    notes=dict.fromkeys((str(run.folder), note) for run in runs for note in run.notes),
    sections=sections,
    reasons=reasons | missing(runs),
    **({} if study else of_each(groups, trained)),
    over_time=over_time(trained),
    differences=differences(groups),
    study=study,
    version=__version__,
  )
