"""Puts plausible bugs into the code, one at a time, and counts those that the tests see.

  .venv/bin/pip install -r tests/mutation.txt
  .venv/bin/python -m tests.mutation --minutes=60 --seed=0 --output=/tmp/survivors.txt
  .venv/bin/python -m tests.mutation --only=metrics --only=jaxgen/training/loop.py

Mutants are made by cosmic-ray's operators and two more (tests/mutation/operators.py) in the rooms
of tests/mutation/rooms.py. First every test that guards a room runs once, which says what lines it
runs and how long it takes; that is kept in .pytest_cache until a file of the tree changes. Then
mutants are drawn, from all rooms in proportion, until the time is up: each is put into a copy of
the tree, and is shown to the quick tests that run its line before the slow ones, until one fails.
One whose tests take several times longer than they should is stopped, and counts as seen. Which
mutants are drawn depends on the seed only, how many on the time. Ctrl-C ends early, with a report.

A survivor is a bug that no test sees, or no bug. One that is no bug is explained by an entry in
tests/mutation/explained.toml, and from then on is counted apart and not run.
"""

import argparse
import difflib
import json
import math
import random
import signal
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.mutation import rooms, trial
from tests.mutation.operators import Mutant, Position, mutate, positions

KILLED, LATE, SURVIVED, EXPLAINED = 'killed', 'timed out', 'survived', 'explained'
PASSED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
MEASURED = [trial.Test('all of a file', 900.0, 900.0, True, False, {})]  # at most
EXPLANATIONS = Path(__file__).parent / 'explained.toml'


class Result(NamedTuple):
  """What became of a mutant.

  Attributes:
    room: of its file.
    mutant: the change.
    outcome: KILLED, LATE, SURVIVED or EXPLAINED.
    shown: how many tests it was shown at most.
    seconds: how long that took.
    by: the test that failed.
  """

  room: str
  mutant: Mutant
  outcome: str
  shown: int = 0
  seconds: float = 0.0
  by: str = ''


def explanations() -> dict[tuple[str, str, str], str]:
  """Why a mutant is no bug, by its file and the changed line before and after.

  Raises:
    SystemExit: an entry whose line is in its file no more.
  """
  found = {}
  for entry in tomllib.loads(EXPLANATIONS.read_text()).get('mutant', []):
    lines = [line.strip() for line in (trial.ROOT / entry['file']).read_text().splitlines()]
    if entry['before'].strip() not in '\n'.join(lines):
      raise SystemExit(
        f'{EXPLANATIONS.name} explains {entry["before"]!r}, which {entry["file"]} no longer has: '
        'remove the entry, or mend it'
      )
    found[entry['file'], entry['before'].strip(), entry['after'].strip()] = entry['reason']
  return found


def draw(chosen: list[str], seed: int) -> tuple[list[tuple[str, Position]], Counter[str]]:
  """The places of mutants in random order, any beginning of which holds each room's share.

  Args:
    chosen: rooms, or files.
    seed: of the order.

  Returns:
    Pairs of a room and a place, and how many there are of each room.
  """
  generator = random.Random(seed)  # noqa: S311
  ranked, sizes = [], Counter()
  for room in rooms.ROOMS:
    files = [file for file in rooms.sources(room) if {room, file} & set(chosen)]
    found = [place for file in files for place in positions(trial.ROOT, file)]
    generator.shuffle(found)
    sizes[room] += len(found)
    ranked += [((i + 0.5) / len(found), room, place) for i, place in enumerate(found)]
  return [(room, place) for _, room, place in sorted(ranked, key=lambda r: r[:2])], +sizes


def measure(copies: list[trial.Copy], files: list[str]) -> list[trial.Test]:
  """Every test of these files on the unchanged tree; what a tree has shown once is kept."""
  kept = trial.ROOT / '.pytest_cache' / 'mutation' / copies[0].digest()
  kept.mkdir(parents=True, exist_ok=True)
  record = {file: kept / f'{file.replace("/", "-")}.json' for file in files}
  waiting = [file for file in files if not record[file].exists()]
  children = trial.Children(copies)
  try:
    while waiting or children:
      if waiting and children.free:
        copy, file = children.free[0], waiting.pop(0)
        work = lambda c=copy, f=file: trial.measure(c, f, record[f])  # noqa: E731
        children.start(copy, file, MEASURED, work)
        continue
      copy, file, _, seconds = children.wait()
      if not record[file].exists():
        raise SystemExit(f'{file} cannot be run on the unchanged tree:\n{copy.log.read_text()}')
      print(f'{seconds:6.1f} s  {file}', flush=True)
  finally:
    children.stop()
  return [trial.Test(*f) for file in files for f in json.loads(record[file].read_text())]


def trials(
  places: list[tuple[str, Position]],
  tests: dict[str, list[trial.Test]],
  copies: list[trial.Copy],
  deadline: float,
  patience: float,
) -> Iterator[Result]:
  """The results of as many mutants as there is time for, as they come."""
  explained, children, waiting = explanations(), trial.Children(copies), iter(places)
  try:
    more = True
    while more or children:
      if more and children.free:
        room, place = next(waiting, (None, None))
        more = place is not None and time.monotonic() < deadline
        mutant = mutate(trial.ROOT, place) if more else None
        if mutant is None:
          continue
        if (mutant.file, mutant.before, mutant.after) in explained:
          yield Result(room, mutant, EXPLAINED)
          continue
        shown = rooms.chosen(room, mutant.file, mutant.line, tests[room], patience)
        if not shown:
          yield Result(room, mutant, SURVIVED)
          continue
        copy, names = children.free[0], [test.name for test in shown]
        copy.put(mutant.file, mutant.code)
        work = lambda c=copy, n=names: trial.run(c, n)  # noqa: E731
        children.start(copy, (room, mutant, len(shown)), shown, work)
        continue
      copy, (room, mutant, shown), code, seconds = children.wait()
      copy.put(mutant.file, (trial.ROOT / mutant.file).read_text())
      outcome = LATE if code is None else SURVIVED if code in PASSED else KILLED
      yield Result(room, mutant, outcome, shown, seconds, trial.failed(copy))
  finally:
    children.stop()


def table(results: list[Result], sizes: Counter[str]) -> str:
  """Counts by room, and the share seen of those that are not explained, with its error."""
  lines = [f'{"":12}{"mutants":>9}{"drawn":>7}{KILLED:>8}{LATE:>11}{SURVIVED:>10}{EXPLAINED:>11}']
  lines[0] += f'{"score":>17}'
  for room in (*sizes, 'all'):
    own = [r for r in results if room in (r.room, 'all')]
    count = Counter(r.outcome for r in own)
    bugs = len(own) - count[EXPLAINED]
    share = (count[KILLED] + count[LATE]) / bugs if bugs else math.nan
    error = math.sqrt(share * (1 - share) / bugs) if bugs else math.nan
    size = sizes.total() if room == 'all' else sizes[room]
    lines.append(
      f'{room:12}{size:9}{len(own):7}{count[KILLED]:8}{count[LATE]:11}{count[SURVIVED]:10}'
      f'{count[EXPLAINED]:11}{share:9.1%} ± {error:.1%}'
    )
  return '\n'.join(lines)


def survivors(results: list[Result]) -> str:
  """The mutants that no test saw, as diffs, in the order of the files."""
  found = sorted((r for r in results if r.outcome == SURVIVED), key=lambda r: r.mutant[:4])
  lines = []
  for result in found:
    mutant = result.mutant
    reached = f'{result.shown} tests pass' if result.shown else 'no test runs it'
    lines.append(f'{mutant.file}:{mutant.line} ({reached})')
    lines += [f'- {line}' for line in mutant.before.splitlines()]
    lines += [f'+ {line}' for line in mutant.after.splitlines()]
    lines.append('')
  return '\n'.join(lines)


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.mutation',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--minutes', type=float, default=60, help='for the mutants, after the tests were measured')
  add('--seed', type=int, default=0, help='which mutants are drawn')
  add('--only', action='append', metavar='ROOM', help='a room, or a file; may be given again')
  add('--workers', type=int, default=2, help='copies of the tree that are tried at a time')
  add('--patience', type=float, default=60, help='seconds of tests that a mutant is shown, about')
  add('--output', type=Path, help='a file for the table and the survivors, outside the project')
  flags = parser.parse_args()
  known = [*rooms.ROOMS, *(file for room in rooms.ROOMS for file in rooms.sources(room))]
  for name in flags.only or ():
    if name not in known:
      near = difflib.get_close_matches(name, known, cutoff=0) or known
      parser.error(f'--only={name} is no room and no file of one; did you mean {near[0]}?')
  if flags.output and flags.output.resolve().is_relative_to(trial.ROOT):
    parser.error(f'--output={flags.output} lies in the project: name a file outside of it')
  return flags


def main() -> None:
  """Measures, tries, and prints; Ctrl-C ends the trying."""
  flags = parse()
  places, sizes = draw(flags.only or list(rooms.ROOMS), flags.seed)
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
  explanations()  # so that one that is out of date is told before anything runs
  trial.warm_up()
  results: list[Result] = []
  with trial.copies(flags.workers) as copies:
    guards = {room: rooms.guards(room) for room in sizes}
    measured = measure(copies, sorted({f for own in guards.values() for f in own}))
    for test in measured:
      if test.failed:
        print(f'fails on the unchanged tree, and is left out: {test.name}', flush=True)
    tests = {r: [t for t in measured if t.passed and t.file in own] for r, own in guards.items()}
    deadline = time.monotonic() + 60 * flags.minutes
    try:
      for result in trials(places, tests, copies, deadline, flags.patience):
        results.append(result)
        place = f'{result.mutant.file}:{result.mutant.line}'
        print(f'{result.outcome:9} {result.seconds:5.1f} s  {place:40} {result.by}', flush=True)
    except KeyboardInterrupt:
      print('stopped')
  report = f'{table(results, sizes)}\n\n{survivors(results)}'
  print(f'\n{report}')
  if flags.output:
    flags.output.write_text(report)


if __name__ == '__main__':
  main()
