"""A contender's own process: builds its work, then runs units of it on request.

One line of JSON goes out when the first unit is done, and one for every number of units that comes
in; the end of the input ends the process.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks.contender import Contender, Work


def timed(work: Work, units: int) -> tuple[float, float]:
  """Seconds that so many units take, by the clock and on all cores of the CPU together."""
  began, computed = time.perf_counter(), time.process_time()
  work.run(units)
  return time.perf_counter() - began, time.process_time() - computed


def resident() -> float:
  """The most memory that this process has ever had, in MB; the accelerator's own is not in it."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answers() -> Callable[..., None]:
  """Writes its keyword arguments to the standard output, and nobody else does any more."""
  channel = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what libraries print must not mix with the answers

  def answer(**fields: Any) -> None:
    print(json.dumps(fields), file=channel, flush=True)

  return answer


def main() -> None:
  """Serves the contender that the first argument describes."""
  answer = answers()
  contender = Contender.loads(sys.argv[1])
  side = importlib.import_module(f'tests.benchmarks.{contender.side}_side')
  before = resident()
  work = side.build(contender)
  answer(
    first_call=timed(work, 1)[0],
    steps=work.steps,
    images=work.images,
    parameters=work.parameters,
    flops=work.flops,
    device=work.device,
    imported_megabytes=before,
  )
  for line in sys.stdin:
    seconds, computed = timed(work, int(line))
    peak = max(resident(), side.peak_megabytes())
    answer(seconds=seconds, cpu_seconds=computed, peak_megabytes=peak)


if __name__ == '__main__':
  main()
