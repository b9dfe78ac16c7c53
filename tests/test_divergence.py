"""A run whose numbers stop being numbers stops, and what was good stays."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.devices import parallel
from jaxgen.main import main

ROOT = Path(__file__).parent.parent


def test_a_loss_that_turns_nan_keeps_the_last_good_checkpoint(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  build = parallel.train_steps

  def poisoned(*arguments: object, **options: object) -> Callable[..., object]:
    update = build(*arguments, **options)

    def steps(state: parallel.TrainState, batches: np.ndarray) -> object:
      state, metrics = update(state, batches)
      poison = jnp.where(state.step == 6, jnp.array([0.0, jnp.nan]), 0.0)
      return state, metrics | {'loss': metrics['loss'] + poison}

    steps.lower = update.lower
    return steps

  fields = {'network.hidden': 16, 'num_steps': 8, 'batch_size': 20, 'steps_per_call': 2}
  fields |= {'log_every': 2, 'checkpoint.every': 4, 'evaluation.every': 0}
  fields |= {'evaluation.training_samples': 0, 'evaluation.validation_images': 20}
  command = [f'--config={ROOT}/experiments/vae.py']
  command += [f'--config.{name}={value}' for name, value in fields.items()]
  run = tmp_path / 'run'
  with monkeypatch.context() as patch:
    patch.setattr(parallel, 'train_steps', poisoned)
    assert main([*command, f'--workdir={run}']) == 2
  error = capsys.readouterr().err
  assert error.startswith('jaxgen: ')
  assert 'loss is nan at step 6' in error
  assert 'last good checkpoint' in error
  assert [path.name for path in (run / 'checkpoints').iterdir()] == ['4']
  assert main([f'--workdir={run}', '--mode=sample', '--num_samples=2']) == 0
  assert main([*command, f'--workdir={run}']) == 0
