"""Runs tests in a copy of the tree, each time in a fork of a process that has imported JAX.

A fork saves the seconds that imports take. It is safe here because this process only imports: JAX
starts no backend, and so no thread, before a child uses it.
"""

import hashlib
import importlib
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
HEAVY = ('jax.numpy', 'jax.experimental.multihost_utils', 'flax.linen', 'optax', 'scipy.linalg')
HEAVY += ('scipy.stats', 'scipy.special', 'sklearn.datasets', 'sklearn.neighbors', 'PIL.Image')
HEAVY += ('orbax.checkpoint', 'ml_collections', 'hypothesis.strategies', 'coverage')
HEAVY += ('tensorboard.backend.event_processing.event_accumulator', 'matplotlib.figure')
STAMPS = itertools.count(10**9)  # seconds; compiled code is known by them and by the size
EVEN_SLOW = ('-m', '')
# By default it holds one experiment of each family to the contract.
WHOLE = ('tests/test_contract.py',)
MEMORY = 16 * 2**30  # bytes that a mutant may take before it is stopped


class Test(NamedTuple):
  """A test of the unchanged tree, and the lines that ran in it.

  Attributes:
    name: pytest's node id.
    seconds: how long it took.
    work: the seconds of processors that it took, which a busy machine changes less.
    passed: whether it neither failed nor was skipped.
    failed: whether it failed.
    lines: of each file of the project.
  """

  name: str
  seconds: float
  work: float
  passed: bool
  failed: bool
  lines: dict[str, list[int]]

  @property
  def file(self) -> str:
    """The path of its file from the root of the project."""
    return self.name.partition('::')[0]


class Copy(NamedTuple):
  """A copy of the tree, which one child at a time works in."""

  root: Path
  log: Path
  scratch: Path

  def digest(self) -> str:
    """A name for what the tree holds."""
    found = hashlib.sha256()
    for path in sorted(path for path in self.root.rglob('*') if path.is_file()):
      found.update(f'{path.relative_to(self.root)}\0'.encode() + path.read_bytes())
    return found.hexdigest()[:16]

  def put(self, file: str, code: str) -> None:
    """Writes a file, with a time that no version of it has had: so Python sees that it is new."""
    (self.root / file).write_text(code)
    stamp = next(STAMPS)
    os.utime(self.root / file, (stamp, stamp))


def copy_tree(folder: Path) -> Copy:
  """Copies what git tracks, and what it does not ignore."""
  listed = ('git', '-C', str(ROOT), 'ls-files', '-z', '-co', '--exclude-standard')
  names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split('\0')
  root = folder / 'tree'
  for name in filter(None, names):
    if (ROOT / name).is_file():
      (root / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy2(ROOT / name, root / name)
  return Copy(root, folder / 'log', folder / 'scratch')


def warm_up() -> None:
  """Imports what the tests import of others, with the settings that tests/conftest.py makes."""
  os.environ['JAX_PLATFORMS'] = 'cpu'
  os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
  cache = ROOT / '.pytest_cache' / 'xla'
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache))
  for name in HEAVY:
    importlib.import_module(name)


def fork(copy: Copy, effort: int, work: Callable[[], int]) -> int:
  """Starts a process of its own group that does the work in the copy; returns its id.

  Args:
    copy: where.
    effort: seconds of processors after which it is ended.
    work: what; its result is the exit code.
  """
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # that JAX has threads, which it has not yet
    child = os.fork()
  if child:
    return child
  code = 3
  try:
    os.setsid()
    with copy.log.open('wb') as log:
      os.dup2(log.fileno(), 1)
      os.dup2(log.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (effort, effort + 1))
    os.chdir(copy.root)
    inherited = [path for path in sys.path if path and Path(path).resolve() != ROOT]
    sys.path[:] = [str(copy.root), *inherited]
    os.environ['PYTHONPATH'] = str(copy.root)
    sys.dont_write_bytecode = False  # so that the next child finds what has not changed
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
    for name in [n for n in sys.modules if n.partition('.')[0] in ('tests', 'jaxgen')]:
      del sys.modules[name]
    sys.modules['__main__'] = types.ModuleType('__main__')  # what multiprocessing would run again
    code = int(work())
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Children:
  """At most one child in each copy, each with a time limit."""

  def __init__(self, copies: Iterable[Copy]) -> None:
    self.free = list(copies)
    self._running: dict[int, tuple[Copy, Any, float, float]] = {}

  def start(self, copy: Copy, what: Any, tests: Iterable[Test], work: Callable[[], int]) -> None:
    """Runs in a free copy some work that takes these tests' time, and not many times longer.

    A loop that never ends is known by the processors' time, a wait that never ends by the clock.
    """
    self.free.remove(copy)
    tests, now = list(tests), time.monotonic()
    effort = round(30 + 4 * sum(test.work for test in tests))
    deadline = now + 120 + 10 * sum(test.seconds for test in tests)
    self._running[fork(copy, effort, work)] = (copy, what, now, deadline)

  def wait(self) -> tuple[Copy, Any, int | None, float]:
    """The next child to end: its copy, `what` it was, its exit code (None: late) and seconds."""
    while True:
      for child, (copy, what, start, deadline) in self._running.items():
        ended, status = os.waitpid(child, os.WNOHANG)
        late = not ended and time.monotonic() > deadline
        if late or ended:
          _kill(child)  # and what it started
        if late:
          os.waitpid(child, 0)
        if late or ended:
          del self._running[child]
          self.free.append(copy)
          code = os.waitstatus_to_exitcode(status)
          code = None if late or code in (-signal.SIGXCPU, -signal.SIGKILL) else code
          return copy, what, code, time.monotonic() - start
      time.sleep(0.02)

  def __bool__(self) -> bool:
    return bool(self._running)

  def stop(self) -> None:
    """Ends them all."""
    for child in self._running:
      _kill(child)
      os.waitpid(child, 0)


def _kill(group: int) -> None:
  try:
    os.killpg(group, signal.SIGKILL)
  except ProcessLookupError:
    return


def run(copy: Copy, tests: list[str]) -> int:
  """In a child: pytest's exit code for these tests, in this order, until one fails."""
  place = {name: index for index, name in enumerate(tests)}

  class Chosen:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
      chosen = [item for item in items if item.nodeid in place]
      items[:] = sorted(chosen, key=lambda item: place[item.nodeid])

  return pytest.main(['-x', *_flags(copy), *EVEN_SLOW, *_files(tests)], plugins=[Chosen()])


def measure(copy: Copy, file: str, found: Path) -> int:
  """In a child: runs a file's tests, and writes down a list of `Test`."""
  coverage = importlib.import_module('coverage')
  tracer = coverage.Coverage(data_file=None, source=[str(copy.root / 'jaxgen')])
  tracer.set_option('run:disable_warnings', ['no-data-collected', 'module-not-measured'])
  seconds: dict[str, float] = defaultdict(float)
  work: dict[str, float] = {}
  outcomes: dict[str, set[str]] = defaultdict(set)

  class Measured:
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
      tracer.switch_context(item.nodeid)
      start = time.process_time()
      result = yield
      work[item.nodeid] = time.process_time() - start
      return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
      seconds[report.nodeid] += report.duration
      outcomes[report.nodeid].add(report.outcome)

  tracer.start()
  slow = EVEN_SLOW if file in WHOLE else ()
  pytest.main([*_flags(copy), *slow, file], plugins=[Measured()])
  tracer.stop()
  lines = _lines_by_test(tracer.get_data(), copy.root)
  tests = [
    Test(name, seconds[name], work[name], done == {'passed'}, 'failed' in done, lines.get(name, {}))
    for name, done in outcomes.items()
  ]
  partial = found.with_suffix('.partial')
  partial.write_text(json.dumps(tests))
  partial.rename(found)
  return 0


def _lines_by_test(data: Any, root: Path) -> dict[str, dict[str, list[int]]]:
  found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
  for path in data.measured_files():
    file = str(Path(path).relative_to(root))
    for line, names in data.contexts_by_lineno(path).items():
      for name in names:
        found[name][file].append(line)
  return found


def failed(copy: Copy) -> str:
  """The test that failed last in a copy, or nothing where none came to an end."""
  found = re.findall(r'^(?:FAILED|ERROR) (\S+)', copy.log.read_text(errors='replace'), re.MULTILINE)
  return found[-1] if found else ''


def _flags(copy: Copy) -> list[str]:
  plugins = ['-p', 'no:xdist', '-p', 'no:cacheprovider']
  imported = '-Wignore::pytest.PytestAssertRewriteWarning'  # before pytest could rewrite it
  return ['-q', '--no-header', '--tb=short', imported, *plugins, f'--basetemp={copy.scratch}']


def _files(tests: Iterable[str]) -> list[str]:
  return list(dict.fromkeys(name.partition('::')[0] for name in tests))


@contextmanager
def copies(count: int) -> Iterator[list[Copy]]:
  """So many copies of the tree, which are removed in the end."""
  with tempfile.TemporaryDirectory(prefix='jaxgen-mutation-') as folder:
    try:
      yield [copy_tree(Path(folder) / str(index)) for index in range(count)]
    finally:
      unmount(folder)


def unmount(folder: str) -> None:
  """Takes away the file systems that stopped tests left mounted below a folder."""
  mounts = Path('/proc/mounts')
  for line in mounts.read_text().splitlines() if mounts.exists() else ():
    place = line.split()[1]
    if place.startswith(folder):
      subprocess.run(('umount', '--lazy', place), check=True)
