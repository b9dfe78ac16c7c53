"""Weights & Biases. Account, project and mode are those of its own environment variables.

WANDB_MODE=offline needs neither account nor network; `wandb sync` sends what it has left. A resumed
run goes on under its name, and what it repeats is drawn over what was there.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.errors import UserError


class Tracker:
  """A run of the workdir's name, in the project WANDB_PROJECT, or else jaxgen."""

  def __init__(self, workdir: Path, fields: dict[str, Any], step: int) -> None:
    """Begins, or goes on.

    Raises:
      UserError: wandb is not installed, or has no account.
    """
    del step
    try:
      import wandb
    except ImportError as error:
      raise UserError(
        "config.tracker='wandb' needs a package: pip install wandb, or leave the field empty"
      ) from error
    folder = workdir.resolve()
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    project = os.environ.get('WANDB_PROJECT', 'jaxgen')
    identity = re.sub(r'[^\w-]', '_', f'{folder.name}-{digest}')
    try:
      self._run = wandb.init(
        project=project, name=folder.name, id=identity, dir=folder, config=fields, resume='allow'
      )
    except wandb.Error as error:
      raise UserError(
        f"config.tracker='wandb': {error}; WANDB_MODE=offline needs no account"
      ) from error
    self._image = wandb.Image
    self._run.define_metric('*', step_metric='step')

  def text(self, name: str, text: str, step: int) -> None:
    """A sentence."""
    self._run.log({'step': step, name: text})

  def scalars(self, values: dict[str, float], step: int) -> None:
    """A point of each curve."""
    self._run.log({'step': step} | values)

  def image(self, name: str, picture: np.ndarray, step: int) -> None:
    """uint8 (H, W, C)."""
    self._run.log({'step': step, name: self._image(picture)})

  def close(self, finished: bool) -> None:
    """The end."""
    self._run.finish(exit_code=0 if finished else 1)
