"""Assemble, restore, loop: training any objective, resumable at every step."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import ml_collections
import numpy as np
from clu import parameter_overview

from jaxgen import configuration, data, objective, parallel
from jaxgen.checkpoint import Checkpoints
from jaxgen.evaluation import GRID, Evaluation, require_finite
from jaxgen.workdir import claim, describe
from jaxgen.writer import Writer


class Stopped(Exception):
  """A signal asked the run to stop; its state is saved."""

  def __init__(self, number: int, step: int) -> None:
    super().__init__(f'{signal.Signals(number).name}: stopped at step {step}, which is saved')
    self.exit_code = 128 + number  # as shells and schedulers report it


def train(config: ml_collections.ConfigDict, workdir: Path) -> None:
  """Trains until config.num_steps, resuming from the workdir's newest whole checkpoint.

  Raises:
    UserError: bad config, data or workdir, or a loss that is not finite.
    Stopped: SIGTERM or SIGINT arrived.
  """
  configuration.validate(config, jax.device_count())
  dataset = data.load(config.data)
  model = objective.build(config, dataset.image_shape)
  with claim(workdir), stop_requests() as requests:
    configuration.save(config, workdir)
    describe(workdir, dataset.image_shape)
    state = parallel.initial_state(model, config.seed)
    with Checkpoints(workdir / 'checkpoints', config.checkpoint.keep) as checkpoints:
      state = checkpoints.restore(state) or state
      start = int(state.step)
      with Writer(workdir, config, start) as writer:
        announce(config, workdir, dataset, state)
        run = Run(config, model, dataset, writer, checkpoints)
        run.loop(state, start, requests)
  print(f'Finished: step {config.num_steps} of {config.num_steps} in {workdir}', flush=True)


class Run:
  """The loop and what it does between updates."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    model: objective.Objective,
    dataset: data.Dataset,
    writer: Writer,
    checkpoints: Checkpoints,
  ) -> None:
    self.config, self.dataset, self.writer, self.checkpoints = config, dataset, writer, checkpoints
    self.update = parallel.train_steps(model, config.seed, config.ema_decay)
    self.evaluation = Evaluation(model, config)
    self.pending: list[tuple[int, Any]] = []  # metrics still on the devices
    self.logged = (0, time.monotonic())

  def loop(self, state: parallel.TrainState, start: int, requests: list[int]) -> None:
    """Updates, logs, evaluates and saves until the last step or a request to stop."""
    config, stride = self.config, self.config.steps_per_call
    self.logged = (start, time.monotonic())

    def read(step: int) -> np.ndarray:
      images = self.dataset.train.images
      batches = data.batches(images, config.batch_size, config.seed, step, stride)
      return parallel.shard(batches, jax.device_count())

    for step, batches in data.prefetch(read, range(start, config.num_steps, stride)):
      state, metrics = self.update(state, batches)
      self.pending.append((step, metrics))
      done = step + stride
      last = done >= config.num_steps
      if requests and not last:
        self.save(done, state)
        raise Stopped(requests[0], done)
      if last or done % config.log_every == 0:
        self.log(done)
      if last or due(done, config.evaluation.every):
        self.evaluate(done, state)
      if last or due(done, config.checkpoint.every):
        self.save(done, state)

  def log(self, step: int) -> None:
    """Fetches the metrics since the last log, checks every one, and writes their means."""
    means = self.fetch()
    before, then = self.logged
    now = time.monotonic()
    rate = (step - before) / max(now - then, 1e-9)
    self.logged = (step, now)
    self.writer.scalars(step, means | {'images_per_second': rate * self.config.batch_size})
    print(progress(step, self.config.num_steps, rate, self.config.batch_size, means), flush=True)

  def fetch(self) -> dict[str, float]:
    """Means of the pending metrics by name.

    Raises:
      UserError: one of them is not finite at some step.
    """
    columns: dict[str, list[np.ndarray]] = {}
    for first, metrics in jax.device_get(self.pending):
      for i in range(self.config.steps_per_call):
        values = {name: column[i] for name, column in metrics.items()}
        require_finite(values, f'at step {first + i + 1}')
      for name, column in metrics.items():
        columns.setdefault(f'train/{name}', []).append(column)
    self.pending.clear()
    return {name: float(np.mean(np.concatenate(c))) for name, c in columns.items()}

  def evaluate(self, step: int, state: parallel.TrainState) -> None:
    """Validation means and pictures, from the averaged parameters."""
    began = time.monotonic()
    validation = self.dataset.validation.images
    shown = validation[np.arange(min(len(validation), self.config.evaluation.validation_images))]
    means = self.evaluation.measure(state.ema, shown)
    self.writer.scalars(step, {f'validation/{name}': value for name, value in means.items()})
    samples = np.concatenate(list(self.evaluation.samples(state.ema, GRID)))
    self.writer.pictures(step, 'samples', samples)
    for name, rows in self.evaluation.figures(state.ema, validation).items():
      self.writer.pictures(step, name, rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])
    if step == self.config.num_steps:
      self.writer.hyperparameters(step, means)
    seconds = time.monotonic() - began
    print(f'step {step}: validation {summary(means)} ({seconds:.1f} s)', flush=True)
    self.logged = (self.logged[0], self.logged[1] + seconds)

  def save(self, step: int, state: parallel.TrainState) -> None:
    """Starts a checkpoint, of a state whose every metric so far was finite."""
    if self.pending:
      self.log(step)
    self.checkpoints.save(step, state)


def due(step: int, every: int) -> bool:
  """Whether something that happens every so many steps (0: never) happens after this one."""
  return every > 0 and step % every == 0


@contextmanager
def stop_requests() -> Iterator[list[int]]:
  """A list that receives SIGTERM and SIGINT; a second SIGINT interrupts at once."""
  requests: list[int] = []

  def request(number: int, frame: FrameType | None) -> None:
    requests.append(number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    name = signal.Signals(number).name
    print(f'{name}: saving after this step (Ctrl-C again stops at once)', file=sys.stderr)

  before = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield requests
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def announce(
  config: ml_collections.ConfigDict,
  workdir: Path,
  dataset: data.Dataset,
  state: parallel.TrainState,
) -> None:
  """Says what is about to run, on what, and from where."""
  print(parameter_overview.get_parameter_overview(state.params, include_stats=False))
  sizes = ', '.join(f'{len(split.images)} {name}' for name, split in dataset._asdict().items())
  device = jax.devices()[0]
  print(
    f'{config.objective.name} on {config.data.name} {dataset.image_shape} ({sizes}), '
    f'{jax.device_count()} x {device.device_kind}, workdir {workdir}'
  )
  if int(state.step):
    print(f'Resuming from step {int(state.step)} of {config.num_steps}')
  sys.stdout.flush()


def progress(
  step: int, num_steps: int, rate: float, batch_size: int, means: dict[str, float]
) -> str:
  """One line: step, share, rate, losses, time to go."""
  minutes, seconds = divmod(round((num_steps - step) / rate), 60)
  losses = {name: v for name, v in means.items() if not name.endswith('_norm')}
  return (
    f'step {step}/{num_steps} {step / num_steps:4.0%}  {rate * batch_size:,.0f} images/s  '
    f'{summary(losses)}  ETA {minutes}:{seconds:02d}'
  )


def summary(means: dict[str, float]) -> str:
  """Metrics as one line of text."""
  return '  '.join(f'{name.removeprefix("train/")} {value:.4g}' for name, value in means.items())
