"""Which files are mutated, which tests guard them, and which of these a mutant is shown."""

import ast
from typing import NamedTuple

from tests.mutation.trial import ROOT, Test


class Room(NamedTuple):
  """Patterns of files.

  Attributes:
    sources: what is mutated.
    tests: what guards it.
    processes: those of the tests that run the program in processes of its own, where the lines that
      run are not seen.
  """

  sources: tuple[str, ...]
  tests: tuple[str, ...]
  processes: tuple[str, ...] = ()


ROOMS = {
  'objectives': Room(
    (
      'jaxgen/objectives/*.py',
      'jaxgen/objectives/*/*.py',
      'jaxgen/objectives/*/*/*.py',
    ),
    (
      'tests/objectives/*.py',
      'tests/test_contract.py',
      'tests/test_optimizers.py',
      'tests/test_parallel.py',
    ),
  ),
  'metrics': Room(
    ('jaxgen/metrics/*.py', 'jaxgen/features/[_pt]*.py', 'jaxgen/features/cache.py'),
    ('tests/metrics/*.py',),
  ),
  'evaluation': Room(
    ('jaxgen/evaluation/[hlmrs]*.py', 'jaxgen/evaluation/protocol.py'),
    (
      'tests/test_scores.py',
      'tests/test_real.py',
      'tests/test_foreign.py',
      'tests/test_protocol.py',
      'tests/test_references.py',
      'tests/test_best.py',
    ),
  ),
  'training': Room(
    (
      'jaxgen/training/loop.py',
      'jaxgen/training/lines.py',
      'jaxgen/training/checkpoint.py',
      'jaxgen/datasets/splits.py',
      'jaxgen/datasets/order.py',
    ),
    (
      'tests/test_data.py',
      'tests/test_best.py',
      'tests/test_checkpoint.py',
      'tests/test_divergence.py',
      'tests/test_writer.py',
      'tests/faults/test_[dfrs]*.py',
    ),
    ('tests/faults/test_disk.py', 'tests/faults/test_runs.py', 'tests/faults/test_stop.py'),
  ),
  'devices': Room(
    ('jaxgen/devices/*.py',),
    (
      'tests/test_parallel.py',
      'tests/test_processes.py',
      'tests/test_joining.py',
      'tests/test_together.py',
      'tests/test_cost.py',
      'tests/faults/test_processes.py',
    ),
    ('tests/faults/test_processes.py',),
  ),
}
# Tests of other rooms. A test file that is named nowhere guards every room.
ELSEWHERE = (
  'tests/benchmarks/*.py',
  'tests/mutation/*.py',
  'tests/test_bad_input.py',
  'tests/test_benchmarks.py',
  'tests/test_configuration.py',
  'tests/test_convolution.py',
  'tests/test_end_to_end.py',
  'tests/test_images.py',
  'tests/test_imports.py',
  'tests/test_networks.py',
  'tests/test_quality.py',
  'tests/test_report.py',
  'tests/test_unet.py',
)


def sources(room: str) -> list[str]:
  """The files of a room that are mutated."""
  return _matches(ROOMS[room].sources)


def guards(room: str) -> list[str]:
  """The test files that guard a room."""
  named = {f for r in ROOMS.values() for f in _matches(r.tests)} | set(_matches(ELSEWHERE))
  own = set(_matches(ROOMS[room].tests))
  return [f for f in _matches(('tests/**/test_*.py',)) if f in own or f not in named]


def _matches(patterns: tuple[str, ...]) -> list[str]:
  found: list[str] = []
  for pattern in patterns:
    paths = sorted(ROOT.glob(pattern))
    if not paths:
      raise ValueError(f'{pattern} of tests/mutation/rooms.py matches no file: mend the pattern')
    found += [str(path.relative_to(ROOT)) for path in paths]
  return found


def chosen(room: str, file: str, line: int, tests: list[Test], patience: float) -> list[Test]:
  """The tests of a room that a mutant of this line is shown, in order.

  Those that run the line come first, then the others of their files, which may see through a shared
  fixture or a compiled function what the first have run, then those that start processes; of each
  the quick ones before the slow ones, and in all `patience` seconds of tests or little more.
  """
  lines = set(_lines((ROOT / file).read_text(), line))
  reach = {test.file for test in tests if lines.intersection(test.lines.get(file, ()))}
  apart = set(_matches(ROOMS[room].processes))

  def rank(test: Test) -> int:
    runs = bool(lines.intersection(test.lines.get(file, ())))
    return 0 if runs else 1 if test.file in reach else 2 if test.file in apart else 3

  found, spent = [], 0.0
  for test in sorted(tests, key=lambda test: (rank(test), test.seconds)):
    if rank(test) < 3 and spent < patience:
      found.append(test)
      spent += test.seconds
  return found


def _lines(code: str, line: int) -> range:
  """The lines of the statement at a line; of what runs at import, the lines that may use it."""
  body, inside = ast.parse(code), False
  node: ast.AST = body
  while True:
    within = [
      child
      for child in ast.walk(node)
      if child is not node
      and isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
      and _first(child) <= line <= child.end_lineno
    ]
    if not within:
      break
    inside = inside or isinstance(node, ast.FunctionDef)
    node = within[0]
  if node is body:
    return range(1, len(code.splitlines()) + 1)
  header = node.end_lineno
  if getattr(node, 'body', None) and not isinstance(node, ast.Lambda):
    header = node.body[0].lineno - 1
  if isinstance(node, ast.FunctionDef | ast.ClassDef):
    return range(node.body[0].lineno, node.end_lineno + 1)
  if not inside:
    return range(1, len(code.splitlines()) + 1)
  return range(node.lineno, max(header, line) + 1)


def _first(node: ast.AST) -> int:
  decorators = getattr(node, 'decorator_list', [])
  return min([node.lineno, *(d.lineno for d in decorators)])
