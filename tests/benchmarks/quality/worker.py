"""A learner's own process: trains for so long, and draws samples into a file, on request.

One line of JSON goes out when the first update is done, and one for every line that comes in; the
end of the input ends the process. Only training counts as `seconds`.
"""

import importlib
import json
import sys
import time

import numpy as np

from tests.benchmarks.contender import Contender
from tests.benchmarks.worker import answers


def main() -> None:
  """Trains the contender that the first argument describes, for the seconds of the second."""
  answer = answers()
  contender = Contender.loads(sys.argv[1])
  side = importlib.import_module(f'tests.benchmarks.quality.{contender.side}_side')
  learner = side.build(contender, float(sys.argv[2]))
  began = time.perf_counter()
  updates = learner.train(0.0)
  answer(
    first_call=time.perf_counter() - began,
    updates=updates,
    batch=learner.batch,
    parameters=learner.parameters,
    device=learner.device,
  )
  for line in sys.stdin:
    asked = json.loads(line)
    began = time.perf_counter()
    updates = learner.train(asked['seconds'])
    trained = time.perf_counter()
    np.savez(asked['file'], samples=learner.draw(asked['samples']))
    drawn = time.perf_counter()
    answer(seconds=trained - began, updates=updates, drawing=drawn - trained)


if __name__ == '__main__':
  main()
