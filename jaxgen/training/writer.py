"""One call writes a step's numbers and pictures to metrics.jsonl, TensorBoard and PNG files.

Everything is written by the caller's thread and handed to the kernel at once: a killed process
loses nothing, and a full disk is an error here and now.
"""

import json
import socket
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ml_collections
import numpy as np

from jaxgen.configuration import flatten
from jaxgen.images import as_png, enlarge, grid, save_png, write_whole

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
    self.evaluations = [record for record in records if is_evaluation(record)]
    self.warnings = [record[WARNING] for record in records if WARNING in record]
    self._metrics = (workdir / METRICS).open('a')
    self._board = Board(workdir, step)
    fields = dict(flatten(config.to_dict()))
    self._board.text('config', '\n'.join(f'    {n} = {v!r}' for n, v in fields.items()), step)
    self._hyperparameters = {
      name: value if isinstance(value, int | float | str) else repr(value)
      for name, value in fields.items()
    }

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
    self._board.close()

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """A line of metrics.jsonl, and a point of each of TensorBoard's curves."""
    record = {'step': step} | values
    self._line(record)
    if is_evaluation(record):
      self.evaluations.append(record)
    self._board.scalars(values, step)

  def warning(self, step: int, sentence: str) -> bool:
    """A line of metrics.jsonl and a text in TensorBoard, unless it was said before."""
    if sentence in self.warnings:
      return False
    self.warnings.append(sentence)
    self._line({'step': step, WARNING: sentence})
    self._board.text(WARNING, sentence, step)
    return True

  def _line(self, record: dict[str, Any]) -> None:
    self._metrics.write(json.dumps(record) + '\n')
    self._metrics.flush()

  def pictures(self, step: int, name: str, images: np.ndarray, columns: int | None = None) -> None:
    """uint8 (N, H, W, C) as one sheet: in TensorBoard, and as figures/<name>.png (the latest)."""
    sheet = enlarge(grid(images, columns))
    self._board.image(name, sheet, step)
    save_png(self.workdir / 'figures' / f'{name}.png', sheet)

  def hyperparameters(self, step: int, results: dict[str, float]) -> None:
    """The config's fields beside the run's results, for TensorBoard's HPARAMS tab."""
    self._board.hyperparameters(
      self._hyperparameters, {f'result/{name}': value for name, value in results.items()}, step
    )


class Board:
  """One TensorBoard event file, written without threads or queues that could fail unseen."""

  def __init__(self, folder: Path, step: int) -> None:
    """Starts a file that takes back the events after `step` of the files before it."""
    from tensorboardX import proto, summary

    self._event, self._summary = proto.event_pb2.Event, summary
    # TensorBoard reads a run's files by name, and a clock may have been set back.
    earlier = [int(name.split('.')[3]) for name in event_files(folder)]
    number = max([int(time.time()), *(n + 1 for n in earlier)])
    self._file = (folder / f'events.out.tfevents.{number}.{socket.gethostname()}').open('xb')
    self._add(file_version='brain.Event:2')
    start = proto.event_pb2.SessionLog(status=proto.event_pb2.SessionLog.START)
    self._add(step=step + 1, session_log=start)

  def _add(self, **fields: Any) -> None:
    self._file.write(framed(self._event(wall_time=time.time(), **fields).SerializeToString()))
    self._file.flush()

  def text(self, name: str, text: str, step: int) -> None:
    """Markdown."""
    self._add(step=step, summary=self._summary.text(name, text))

  def scalars(self, values: dict[str, float], step: int) -> None:
    """A point of each curve."""
    summary = self._summary.Summary()
    for name, value in values.items():
      summary.value.add(tag=name, simple_value=value)
    self._add(step=step, summary=summary)

  def image(self, name: str, picture: np.ndarray, step: int) -> None:
    """uint8 (H, W, C)."""
    height, width, channels = picture.shape
    summary = self._summary.Summary()
    value = summary.value.add(tag=name)
    value.image.height, value.image.width, value.image.colorspace = height, width, channels
    value.image.encoded_image_string = as_png(picture)
    self._add(step=step, summary=summary)

  def hyperparameters(self, fields: dict[str, Any], results: dict[str, float], step: int) -> None:
    """A row of the HPARAMS tab."""
    for summary in self._summary.hparams(fields, dict.fromkeys(results, 0.0)):
      self._add(summary=summary)
    self.scalars(results, step)

  def close(self) -> None:
    """Ends the file."""
    self._file.close()


def event_files(folder: Path) -> list[str]:
  """The names of the event files in a folder that bear a number, oldest first."""
  names = (path.name for path in folder.glob('events.out.tfevents.*'))
  return sorted(name for name in names if name.split('.')[3].isdecimal())


def framed(content: bytes) -> bytes:
  """A record of an event file: length and content, each with its checksum."""
  from tensorboardX.record_writer import masked_crc32c

  length = struct.pack('<Q', len(content))
  sums = (struct.pack('<I', masked_crc32c(part)) for part in (length, content))
  return length + next(sums) + content + next(sums)


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
