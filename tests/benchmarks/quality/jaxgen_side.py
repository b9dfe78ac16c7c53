"""jaxgen's recipes, trained and sampled on the path that a run takes."""

import sys
import time
from functools import partial

import jax
import numpy as np

from jaxgen import checks, datasets, objectives
from jaxgen.datasets import order
from jaxgen.devices import cost, parallel
from jaxgen.evaluation.held_out import Evaluation
from tests.benchmarks.contender import Contender
from tests.benchmarks.jaxgen_side import configured, device
from tests.benchmarks.quality.learner import Learner


def build(contender: Contender, budget: float) -> Learner:
  """The learner of a contender; no rate falls, so the seconds of training may be any."""
  del budget
  config = configured(contender)
  checks.check_division(config, jax.device_count())
  dataset = datasets.load(config.data)
  model = objectives.find_objective(config, dataset.facts)
  update, stride = parallel.updates(model, config), config.steps_per_call
  state = jax.device_get(jax.jit(lambda: parallel.initial_state(model, config.seed))())
  parameters = cost.parameters(state.params)
  state, done = parallel.on_all_devices(state), 0
  read = partial(parallel.read_batches, dataset.train, config)
  evaluation = Evaluation(model, config, dataset.facts.class_counts)

  def train(seconds: float) -> int:
    nonlocal state, done
    began, first, before = time.perf_counter(), done, None
    for step, batches in order.prefetch(read, range(done, sys.maxsize, stride)):
      state, metrics = update(state, batches)
      done = step + stride
      jax.block_until_ready(before)  # so that one dispatch waits while another is at work
      before = metrics
      if time.perf_counter() - began >= seconds:
        break
    jax.block_until_ready(state)
    return done - first

  def draw(count: int) -> np.ndarray:
    return np.concatenate(list(evaluation.samples(state.ema, count)))

  return Learner(train, draw, config.batch_size, parameters, device())
