"""Which runs stand in one column: those that differ in nothing but the seed of their training."""

from collections.abc import Sequence
from typing import Any

from jaxgen.report.runs import Run, aside

Groups = dict[str, list[Run]]


def by_seed(runs: Sequence[Run]) -> dict[Any, dict[Any, list[Run]]]:
  """Runs by group and seed. Where one seed has several, the first evaluated one counts."""
  found: dict[Any, dict[Any, list[Run]]] = {}
  for run in sorted(runs, key=lambda run: not run.evaluation):
    found.setdefault(run.group, {}).setdefault(run.config['seed'], []).append(run)
  return found


def repeated(runs: Sequence[Run]) -> list[str]:
  """What was left out as it is another run again: one seed trained twice says nothing new."""
  return [
    f'{other.folder} has the config and the seed of {same[0].folder}: the two count once'
    for seeds in by_seed(runs).values()
    for same in seeds.values()
    for other in same[1:]
  ]


def group(runs: Sequence[Run]) -> Groups:
  """Runs that differ only in their seed, by a name that tells the groups apart."""
  order = {id(run): place for place, run in enumerate(runs)}
  found = [
    sorted((same[0] for same in seeds.values()), key=lambda run: order[id(run)])
    for seeds in by_seed(runs).values()
  ]
  found.sort(key=lambda members: order[id(members[0])])
  bases = [base_name(members) for members in found]
  named: Groups = {}
  for base, members in zip(bases, found, strict=True):
    alike = [other for name, other in zip(bases, found, strict=True) if name == base]
    apart = f', {what_differs(members, alike)}' if len(alike) > 1 else ''
    name, number = f'{base}{apart}', 2
    while name in named:
      name, number = f'{base}{apart} ({number})', number + 1
    named[name] = members
  return named


def base_name(members: Sequence[Run]) -> str:
  """Of the only run, or of experiment, data and seeds."""
  if len(members) == 1:
    return members[0].name
  config = members[0].config
  seeds = ', '.join(str(run.config['seed']) for run in members)
  return f'{members[0].experiment} on {config["data.name"]}, seeds {seeds}'


def what_differs(members: Sequence[Run], alike: Sequence[Sequence[Run]]) -> str:
  """In what a group differs from others of its name: the sampler, or else the first fields."""
  if len({runs[0].sampler for runs in alike}) == len(alike):
    return members[0].sampler
  fields = differences({str(place): runs for place, runs in enumerate(alike)})
  place = next(place for place, runs in enumerate(alike) if runs is members)
  told = [f'{name}={values[place]}' for name, values in fields if not aside(name)]
  return ', '.join(told[:3])


def differences(groups: Groups) -> list[tuple[str, list[str]]]:
  """Config fields in which the groups differ, with each group's values."""
  configs = [runs[0].config for runs in groups.values()]
  names = dict.fromkeys(name for config in configs for name in config if name != 'seed')
  return [
    (name, values)
    for name in names
    if len(set(values := [repr(c[name]) if name in c else '–' for c in configs])) > 1
  ]
