"""One call writes a step's numbers and pictures to metrics.jsonl, PNG files and the trackers.

Everything is written by the caller's thread and handed to the kernel at once: a killed process
loses nothing, and a full disk is an error here and now.
"""

import json
import re
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ml_collections
import numpy as np

from jaxgen.fields import flatten
from jaxgen.images import enlarge, grid, save_png, write_whole
from jaxgen.training import film, trackers

METRICS = 'metrics.jsonl'
TRAIN = 'train/'  # what the names of numbers of training begin with
VALIDATION, SCORE = 'validation/', 'score/'  # what the names of an evaluation begin with
WARNING = 'warning'  # the name of a sentence among the numbers


class Writer:
  """Writes to a run's workdir; a context manager.

  Attributes:
    evaluations: the records of all evaluations so far.
    warnings: the sentences said so far.
  """

  def __init__(self, workdir: Path, config: ml_collections.ConfigDict, step: int) -> None:
    """Continues the records of a run at `step`: whatever was written after it is taken back."""
    self.workdir = workdir
    records = keep_until(workdir / METRICS, step)
    film.take_back(workdir, step)
    self.evaluations = [record for record in records if is_evaluation(record)]
    self.warnings = [record[WARNING] for record in records if WARNING in record]
    fields = dict(flatten(config.to_dict()))
    names = dict.fromkeys([config.tracker or 'tensorboard', 'tensorboard'])
    self._trackers = [trackers.find(name)(workdir, fields, step) for name in names]
    self._metrics = (workdir / METRICS).open('a')

  @property
  def evaluated(self) -> int:
    """The last step whose evaluation is on record; 0 if there is none."""
    return self.evaluations[-1]['step'] if self.evaluations else 0

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self._metrics.close()
    for tracker in self._trackers:
      tracker.close(finished=kind is None)

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """A line of metrics.jsonl, and a point of each curve; their names bear no seed, as runs do."""
    record = {'step': step} | values
    self._line(record)
    if is_evaluation(record):
      self.evaluations.append(record)
    curves = {re.sub(r' seeds?=[\d,]+', '', name): value for name, value in values.items()}
    for tracker in self._trackers:
      tracker.scalars(curves, step)

  def warning(self, step: int, sentence: str) -> bool:
    """A line of metrics.jsonl and a text of the trackers, unless it was said before."""
    if sentence in self.warnings:
      return False
    self.warnings.append(sentence)
    self._line({'step': step, WARNING: sentence})
    for tracker in self._trackers:
      tracker.text(WARNING, sentence, step)
    return True

  def _line(self, record: dict[str, Any]) -> None:
    self._metrics.write(json.dumps(record) + '\n')
    self._metrics.flush()

  def pictures(self, step: int, name: str, images: np.ndarray, columns: int | None = None) -> None:
    """uint8 (N, H, W, C) as one sheet: in the trackers, as figures/<name>.png, and in its film."""
    sheet = grid(images, columns)
    shown = enlarge(sheet)
    for tracker in self._trackers:
      tracker.image(name, shown, step)
    save_png(self.workdir / 'figures' / f'{name}.png', shown)
    film.keep(self.workdir, name, step, sheet)


def is_evaluation(record: dict[str, Any]) -> bool:
  """Whether a line of metrics.jsonl is of an evaluation, and not of training."""
  return any(name.startswith(VALIDATION) for name in record)


def keep_until(path: Path, step: int) -> list[dict[str, Any]]:
  """Drops the lines of a metrics.jsonl that come after a step, and torn ones; gives the others."""
  if not path.exists():
    return []
  records = [parse(line) for line in path.read_text(errors='replace').split('\n')]
  kept = [record for record in records if record is not None and record['step'] <= step]
  write_whole(path, ''.join(json.dumps(record) + '\n' for record in kept).encode())
  return kept


def parse(line: str) -> dict[str, Any] | None:
  """A line of metrics.jsonl, or None where it was torn."""
  try:
    record = json.loads(line)
  except (ValueError, RecursionError):
    return None
  whole = isinstance(record, dict) and type(record.get('step')) is int
  return record if whole else None
