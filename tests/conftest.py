"""Tests run on four virtual CPU devices, with JAX's strictest checks."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Before JAX is imported, and inherited by the processes that tests start.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ.setdefault(
  'JAX_COMPILATION_CACHE_DIR', str(Path(__file__).parent.parent / '.pytest_cache' / 'xla')
)

import hypothesis
import jax
import pytest

jax.config.update('jax_num_cpu_devices', 4)
# Compiling is most of what tests do. The processes that some start compile as users' do.
jax.config.update('jax_disable_most_optimizations', True)
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)

# Seconds say nothing on a busy machine, and a test that fails must fail again.
hypothesis.settings.register_profile(
  'tests',
  deadline=None,
  derandomize=True,
  max_examples=50,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile('tests')


@pytest.fixture(autouse=True, scope='module')
def compiled_code_is_let_go() -> Iterator[None]:
  """After each file, for a process that holds that of all files is stopped by the system."""
  yield
  jax.clear_caches()


@pytest.fixture
def compiled_as_users_do() -> Iterator[None]:
  """For tests that compute for minutes, where what was saved in compiling is lost."""
  jax.config.update('jax_disable_most_optimizations', False)
  yield
  jax.config.update('jax_disable_most_optimizations', True)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
  """Notes what a test measured, for the table at the end."""
  return lambda text: record_property('figure', text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
  """Prints the figures that tests measured, as a table."""
  reports = [
    report
    for outcome in ('passed', 'failed')
    for report in terminalreporter.getreports(outcome)
    if report.when == 'call'
  ]
  rows = [
    (report.nodeid.removeprefix('tests/'), value)
    for report in reports
    for name, value in report.user_properties
    if name == 'figure'
  ]
  if rows:
    terminalreporter.section('figures')
  for name, value in sorted(rows):
    terminalreporter.write_line(f'{name}: {value}')
