"""What a start does once and no more, for it is what one waits for before the first step."""

import ctypes
import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from jaxgen import datasets, objectives
from jaxgen.devices import cost
from jaxgen.main import main
from jaxgen.objectives import optimizers
from jaxgen.training.loop import Run
from tests import toy

COMPILED = '/jax/core/compile/backend_compile_duration'
UPDATE = 'jit(_fun)'  # what JAX calls every mapped program: before the first step, the update alone
FEW = 14  # programs before the first step, of which 10 were seen of any model


class Programs:
  """Collects the names of the programs that are compiled, or loaded; a context manager."""

  def __enter__(self) -> list[str]:
    self.names: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(self.hear)
    return self.names

  def __exit__(self, *_: object) -> None:
    jax.monitoring.unregister_event_duration_listener(self.hear)

  def hear(self, event: str, seconds: float, **about: str | int) -> None:
    if event == COMPILED:
      self.names.append(str(about.get('fun_name')))


def test_a_start_traces_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  """The initialisation for its shapes and to run, the update to be counted, compiled and run."""
  gc_threshold, traced, model = gc.get_threshold(), [], toy.halfway()
  log, before_the_first = Run.log, []

  def init(key: jax.Array) -> Any:
    traced.append('init')
    return model.init(key)

  def update(*arguments: Any) -> Any:
    traced.append('update')
    return model.update(*arguments)

  def watched(self: Run, step: int) -> None:
    before_the_first.append(list(names))
    log(self, step)

  counted = model._replace(init=init, update=update)
  monkeypatch.setattr(datasets, 'load', lambda _: toy.DATA)
  module = SimpleNamespace(build=lambda *_: counted)
  monkeypatch.setattr(objectives, 'find_module', lambda *_: module)
  monkeypatch.setattr(Run, 'log', watched)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  try:
    with Programs() as names:
      assert main(toy.command(tmp_path / 'run')) == 0
  finally:
    gc.set_threshold(*gc_threshold)
  assert sorted(traced) == ['init', 'update']
  assert before_the_first[0].count(UPDATE) == 1
  assert len(before_the_first[0]) <= FEW


def test_a_rate_is_one_program() -> None:
  """Made once for a run, not at every line of it."""
  fields = {'schedule': 'cosine', 'learning_rate': 0.75, 'warmup_steps': 3}
  config = {'optimizer': fields, 'num_steps': 13}
  with Programs() as names:
    rates = [optimizers.learning_rates(config, step)['learning_rate'] for step in (2, 9, 14)]
  assert rates == pytest.approx([0.25, 0.375, 0.0], abs=1e-7)
  assert len([name for name in names if 'convert' not in name]) == 1


def resident() -> float:
  """Megabytes of this process in memory now."""
  lines = Path('/proc/self/status').read_text().splitlines()
  return int(next(line for line in lines if line.startswith('VmRSS')).split()[1]) / 1024


@pytest.mark.skipif(
  not hasattr(ctypes.CDLL(None), 'malloc_trim'), reason='of the C library glibc alone'
)
def test_freed_memory_is_given_back() -> None:
  """100 MB of small arrays, freed but for every hundredth, which lies in the way of the rest."""
  arrays = [np.ones(1024, np.uint8) for _ in range(100_000)]
  kept = arrays[::100]
  del arrays
  held = resident()
  cost.give_back()
  assert resident() < held - 50
  assert len(kept) == 1000
