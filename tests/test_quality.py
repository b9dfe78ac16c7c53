"""Samples of the main job look like digits to a classifier that has only seen real ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxgen.main import main
from tests.digits import recognised

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.usefixtures('compiled_as_users_do')
@pytest.mark.filterwarnings('ignore:The `probability` parameter:FutureWarning')
def test_diffusion_on_digits_draws_every_digit(
  tmp_path: Path, figure: Callable[[str], None]
) -> None:
  workdir = f'--workdir={tmp_path}'
  assert main([f'--config={ROOT}/experiments/ddpm.py', workdir]) == 0
  assert main(['--mode=sample', workdir, '--num_samples=1000']) == 0
  with np.load(tmp_path / 'samples.npz', allow_pickle=False) as file:
    share, classes = recognised(file['samples'])
  figure(f'{share:.1%} of 1,000 recognised; classes {classes.min():.1%} to {classes.max():.1%}')
  assert share >= 0.9
  assert classes.min() >= 0.04
  assert classes.max() <= 0.25


@pytest.mark.slow
@pytest.mark.usefixtures('compiled_as_users_do')
@pytest.mark.filterwarnings('ignore:The `probability` parameter:FutureWarning')
def test_long_chains_of_an_energy_are_still_digits(
  tmp_path: Path, figure: Callable[[str], None]
) -> None:
  """After the steps that samples take, and after ten times as many; from uniform noise."""
  workdir = f'--workdir={tmp_path}'
  assert main([f'--config={ROOT}/experiments/energy.py', workdir]) == 0
  for steps, count in ((500, 1000), (5000, 300)):
    chains = f'--config.sampler.steps={steps}', f'--output={tmp_path}/{steps}.npz'
    assert main(['--mode=sample', workdir, f'--num_samples={count}', *chains]) == 0
    with np.load(tmp_path / f'{steps}.npz', allow_pickle=False) as file:
      share, classes = recognised(file['samples'])
    spread = f'{classes.min():.1%} to {classes.max():.1%}'
    figure(f'{share:.1%} of {count:,} recognised after {steps:,} steps; classes {spread}')
    assert share >= 0.85
    assert classes.max() <= 0.4
