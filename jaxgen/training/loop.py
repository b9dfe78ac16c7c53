"""Assemble, restore, loop: training any objective, resumable at every step."""

import itertools
import math
import time
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import ml_collections
import numpy as np

from jaxgen import checks, configuration, datasets, objectives
from jaxgen.datasets import order, splits
from jaxgen.devices import cost, parallel, processes
from jaxgen.evaluation.held_out import CHOOSING, GRID, Evaluation, first, require_finite
from jaxgen.evaluation.provenance import fingerprint, image_hashes
from jaxgen.objectives import base, rules
from jaxgen.objectives.optimizers import learning_rates
from jaxgen.progress import follow
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.lines import announce, progress, summary
from jaxgen.training.stopping import StopRequests
from jaxgen.training.trained import begin_from
from jaxgen.training.workdir import claim, conclude, describe
from jaxgen.training.writer import SCORE, TRAIN, VALIDATION, Writer

if TYPE_CHECKING:
  from jaxgen.evaluation.scores import Scorer


def train(config: ml_collections.ConfigDict, workdir: Path) -> None:
  """Trains until config.num_steps, resuming from the workdir's newest whole checkpoint.

  Raises:
    UserError: bad config, data or workdir, or a loss that is not finite.
    PeerFailed: another process found one.
    Stopped: SIGTERM or SIGINT arrived, or nobody reads the output any more.
  """
  with ExitStack() as stack:
    with processes.together():
      run, state = prepare(config, workdir, stack)
    with processes.together():
      if not processes.alone():  # every image is hashed
        seen = fingerprint(run.dataset, image_hashes(run.dataset))
        processes.require_same(config=config.to_json(), dataset=str(seen))
    state = processes.from_first(state)
    state = run.loop(parallel.on_all_devices(state), int(state.step))
    with processes.together():
      if processes.first():
        conclude(workdir, int(state.step), parameters=state.params, ema=state.ema)
  print(f'Finished: step {config.num_steps} of {config.num_steps} in {workdir}', flush=True)


def prepare(
  config: ml_collections.ConfigDict, workdir: Path, stack: ExitStack
) -> tuple['Run', parallel.TrainState]:
  """What this process trains with, held by the stack, and the state that the first one begins with.

  Raises:
    UserError: bad config, data or workdir.
  """
  checks.check_division(config, jax.device_count())
  dataset = datasets.load(config.data)
  model = objectives.find_objective(config, dataset.facts)
  requests, begun = stack.enter_context(StopRequests()), None
  if processes.first():
    stack.enter_context(claim(workdir))
    configuration.agree(config, workdir)
    begun = begin_from(config, workdir, model, dataset)
    describe(workdir, dataset)
    configuration.save(config, workdir)
  # What runs but once need not run fast: full optimization took three times as long to compile.
  begin = jax.jit(
    lambda: parallel.initial_state(model, config.seed),
    compiler_options={'xla_backend_optimization_level': 1},
  )
  state = jax.device_get(begin())
  checkpoints = writer = processes.Mute()
  if processes.first():
    checkpoints = Checkpoints(workdir / 'checkpoints', config.checkpoint.keep)
    if begun is not None:
      state = state._replace(params=begun, ema=jax.tree.map(np.copy, begun))
    state = stack.enter_context(checkpoints).restore(state) or state
    writer = stack.enter_context(Writer(workdir, config, int(state.step)))
    announce(config, workdir, dataset, state)
  return Run(config, model, dataset, writer, checkpoints, requests), state


class Run:
  """The loop and what it does between updates."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    model: base.Objective,
    dataset: splits.Dataset,
    writer: Writer,
    checkpoints: Checkpoints,
    requests: StopRequests,
  ) -> None:
    self.config, self.dataset, self.writer, self.checkpoints = config, dataset, writer, checkpoints
    self.requests = requests
    self.update = parallel.updates(model, config)
    self.model = model
    self.evaluation = Evaluation(model, config, dataset.facts.class_counts)
    self.pending: list[tuple[int, Any]] = []  # metrics still on the devices
    self.speed = cost.Speed(config.batch_size, config.get('network', {}).get('dtype', 'float32'))

  def loop(self, state: parallel.TrainState, start: int) -> parallel.TrainState:
    """Updates, logs, saves and evaluates until the last step, whose state it returns, or a stop.

    Saves before it evaluates, so that a run stopped in a long evaluation resumes with it.
    """
    config, stride = self.config, self.config.steps_per_call
    self.requests.safe(start)
    if self.evaluates(start) and processes.agree(self.writer.evaluated) < start:
      self.evaluate(start, state)

    read = partial(parallel.read_batches, self.dataset.train, config)
    batches = read(start)
    with rules.sentences(config.objective.name):
      self.speed.flops = cost.training_flops(self.update, state, batches)
    if processes.alone():
      self.update.lower(state, batches).compile()  # which JAX keeps for the first call
      cost.give_back()
    for step, batches in order.prefetch(read, range(start, config.num_steps, stride)):
      state, metrics = self.update(state, batches)
      self.requests.saved = None
      self.pending.append((step, metrics))
      done = step + stride
      if step == start:  # the clock leaves out the dispatch that compiled
        jax.block_until_ready(metrics)
        self.speed.begin(done)
      pause = self.requests.agreed() or self.evaluates(done)
      if pause or due(done, config.log_every):
        self.log(done)
      if pause or due(done, config.checkpoint.every):
        self.save(done, state)
      if pause:
        with processes.together():
          self.checkpoints.wait()
        self.requests.safe(done)
        self.evaluate(done, state)
    return state

  def evaluates(self, step: int) -> bool:
    """Whether this step is followed by an evaluation: every so often, and after the last."""
    return step == self.config.num_steps or due(step, self.config.evaluation.every)

  @processes.together()
  def log(self, step: int) -> None:
    """Fetches the metrics since the last log, checks every one, and writes their means."""
    means = self.fetch()
    costs = self.speed.until(step) | {'peak_memory_bytes': cost.peak_memory()}
    self.writer.scalars(step, means | learning_rates(self.config, step) | costs)
    self.requests.say(progress(step, self.config, costs, means))
    self.warn(step, {name.removeprefix(TRAIN): value for name, value in means.items()})

  def warn(self, step: int, means: dict[str, float]) -> None:
    """Says what the model sees gone wrong."""
    for sentence in self.model.warn(step, means):
      if self.writer.warning(step, sentence):
        self.requests.say(f'Warning at step {step}: {sentence}')

  def fetch(self) -> dict[str, float]:
    """Means of the pending metrics by name.

    Raises:
      UserError: one of them is not finite at some step.
    """
    columns: dict[str, list[np.ndarray]] = {}
    for start, metrics in jax.device_get(self.pending):
      for i in range(self.config.steps_per_call):
        values = {name: column[i] for name, column in metrics.items()}
        require_finite(values, f'at step {start + i + 1}')
      for name, column in metrics.items():
        columns.setdefault(f'{TRAIN}{name}', []).append(column)
    self.pending.clear()
    return {name: float(np.mean(np.concatenate(c))) for name, c in columns.items()}

  @processes.together()
  def evaluate(self, step: int, state: parallel.TrainState) -> None:
    """Validation means, scores and pictures, from the averaged parameters; the best step is kept.

    Distances are to the training images: validation images are few, test images not for training.
    """
    began = time.monotonic()
    validation, size = self.dataset.validation, self.config.evaluation.validation_images
    means = self.evaluation.measure(state.ema, validation, size)
    found = {VALIDATION + name: value for name, value in means.items()}
    samples, scores = self.draw(state.ema)
    self.writer.pictures(step, 'samples', samples)
    for name, rows in self.evaluation.figures(state.ema, validation).items():
      self.writer.pictures(step, name, rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])
    self.keep_best(step, found | scores)
    # Last, for it says that the evaluation of this step is done.
    self.writer.scalars(step, found | scores)
    self.speed.look()
    seconds = time.monotonic() - began
    shown = summary(dict(itertools.islice(scores.items(), 1)) | means)
    self.requests.say(f'step {step}: validation {shown} ({seconds:.1f} s)')
    self.warn(step, means)
    self.speed.pause(seconds)

  def draw(self, params: base.Params) -> tuple[np.ndarray, dict[str, float]]:
    """Samples for a sheet, and the scores of evaluation.training_samples by their protocols.

    Their latents are not those of the samples that are reported: the best step is chosen on them.
    """
    count, seed = self.config.evaluation.training_samples, self.config.seed
    shown: list[np.ndarray] = []
    drawn = self.evaluation.samples(params, count or GRID, purpose=CHOOSING)
    drawn = first(drawn, GRID, shown)
    if not count:
      return np.concatenate(list(drawn)), {}
    labels = self.evaluation.sampled_labels(count, purpose=CHOOSING)
    scores = self.scorer.score(follow(drawn, count, 'evaluation'), seed, labels)
    numbers = [number for one in scores for number in one.numbers if number.value is not None]
    return np.concatenate(shown), {f'{SCORE}{n.protocol}': n.value for n in numbers}

  @cached_property
  def scorer(self) -> 'Scorer':
    """What scores samples. Its features may have to be trained, so it waits until it is asked."""
    from jaxgen.evaluation.scores import Scorer

    return Scorer(self.dataset, self.config, ('train',))

  def keep_best(self, step: int, values: dict[str, float]) -> None:
    """Keeps this step if its number that config.checkpoint.best names is better than all before."""
    wanted = self.config.checkpoint.best
    if not wanted:
      return
    sign, prefix = (-1.0, wanted[1:]) if wanted.startswith('-') else (1.0, wanted)
    name = next((name for name in values if name.startswith(prefix)), None)
    if name is None:
      if not self.writer.evaluations:  # else it was said before
        known = f'is none of {", ".join(values)}; {""!r} keeps none without a word'
        self.requests.say(f'No step is kept as the best: checkpoint.best={wanted!r} {known}')
      return
    before = [sign * record[name] for record in self.writer.evaluations if name in record]
    if sign * values[name] < min(before, default=math.inf):
      self.checkpoints.keep_best(step)

  @processes.together()
  def save(self, step: int, state: parallel.TrainState) -> None:
    """Starts a checkpoint, of a state whose every metric so far was finite."""
    if self.pending:
      self.log(step)
    self.checkpoints.save(step, state)


def due(step: int, every: int) -> bool:
  """Whether something that happens every so many steps (0: never) happens after this one."""
  return every > 0 and step % every == 0
