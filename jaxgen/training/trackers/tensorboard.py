"""What TensorBoard shows of a run: an event file for each start."""

import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.images import as_png


class Tracker:
  """One event file, written without threads or queues that could fail unseen."""

  def __init__(self, workdir: Path, fields: dict[str, Any], step: int) -> None:
    """Starts a file that takes back the events after `step` of the files before it.

    The HPARAMS tab gets the fields now, so that runs which never end are there too, and no list of
    fields and metrics: TensorBoard takes the first that it finds for that of all runs, and else
    collects those of each.
    """
    from tensorboardX import proto, summary

    self._event, self._summary = proto.event_pb2.Event, summary
    # TensorBoard reads a run's files by name, and a clock may have been set back.
    earlier = [int(name.split('.')[3]) for name in event_files(workdir)]
    number = max([int(time.time()), *(n + 1 for n in earlier)])
    self._file = (workdir / f'events.out.tfevents.{number}.{socket.gethostname()}').open('xb')
    self._add(file_version='brain.Event:2')
    start = proto.event_pb2.SessionLog(status=proto.event_pb2.SessionLog.START)
    self._add(step=step + 1, session_log=start)
    shown = {n: v if isinstance(v, int | float | str) else repr(v) for n, v in fields.items()}
    _, begun, self._ended = summary.hparams(shown, {})
    self._add(step=step, summary=begun)
    self.text('config', '\n'.join(f'    {n} = {v!r}' for n, v in fields.items()), step)

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

  def close(self, finished: bool) -> None:
    """Ends the file."""
    if finished:
      self._add(summary=self._ended)
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
