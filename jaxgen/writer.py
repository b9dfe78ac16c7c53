"""One call writes a step's numbers and pictures to metrics.jsonl, TensorBoard and PNG files."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ml_collections
import numpy as np

from jaxgen.configuration import flatten
from jaxgen.images import enlarge, grid, save_png, write_whole

METRICS = 'metrics.jsonl'


class Writer:
  """Writes to a run's workdir; a context manager."""

  def __init__(self, workdir: Path, config: ml_collections.ConfigDict, step: int) -> None:
    """Continues the records of a run at `step`: whatever was written after it is taken back."""
    from tensorboardX import SummaryWriter

    self.workdir = workdir
    keep_until(workdir / METRICS, step)
    self._metrics = (workdir / METRICS).open('a')
    self._board = SummaryWriter(str(workdir), purge_step=step if step else None)
    fields = dict(flatten(config.to_dict()))
    text = '\n'.join(f'    {name} = {value!r}' for name, value in fields.items())
    self._board.add_text('config', text, step)
    self._hyperparameters = {
      name: value if isinstance(value, int | float | str) else repr(value)
      for name, value in fields.items()
    }

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
    self._metrics.write(json.dumps({'step': step} | values) + '\n')
    self._metrics.flush()
    for name, value in values.items():
      self._board.add_scalar(name, value, step)

  def pictures(self, step: int, name: str, images: np.ndarray, columns: int | None = None) -> None:
    """uint8 (N, H, W, C) as one sheet: in TensorBoard, and as figures/<name>.png (the latest)."""
    sheet = enlarge(grid(images, columns))
    self._board.add_image(name, sheet, step, dataformats='HWC')
    save_png(self.workdir / 'figures' / f'{name}.png', sheet)

  def hyperparameters(self, step: int, results: dict[str, float]) -> None:
    """The config's fields beside the run's results, for TensorBoard's HPARAMS tab."""
    from tensorboardX.summary import hparams

    summaries = hparams(self._hyperparameters, {f'result/{name}': 0.0 for name in results})
    for summary in summaries:
      self._board.file_writer.add_summary(summary)
    for name, value in results.items():
      self._board.add_scalar(f'result/{name}', value, step)


def keep_until(path: Path, step: int) -> None:
  """Drops the lines of a metrics.jsonl that come after a step, and a torn last line."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text(errors='replace').splitlines():
    record = parse(line)
    if record is not None and record['step'] <= step:
      kept.append(line + '\n')
  write_whole(path, ''.join(kept).encode())


def parse(line: str) -> dict[str, Any] | None:
  """A line of metrics.jsonl, or None where it was torn."""
  try:
    record = json.loads(line)
  except ValueError:
    return None
  return record if isinstance(record, dict) and isinstance(record.get('step'), int) else None
