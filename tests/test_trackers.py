"""What trackers are told of a run, and that nothing of them is there unless asked for."""

import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import backend_context

from jaxgen import configuration, images
from jaxgen.errors import UserError
from jaxgen.fields import flatten
from jaxgen.training import trackers, writer

ROOT = Path(__file__).parent.parent
PICTURES = np.zeros((4, 8, 8, 1), np.uint8)


def config(name: str = 'vae', *overrides: str) -> Any:
  arguments = [f'--config.{override}' for override in overrides]
  return configuration.load(f'{ROOT}/experiments/{name}.py', None, arguments)


def told(workdir: Path, run: Any, step: int, values: dict[str, float]) -> None:
  """A run that writes once, and stops."""
  workdir.mkdir(exist_ok=True)
  with contextlib.suppress(KeyboardInterrupt), writer.Writer(workdir, run, step) as out:
    out.scalars(step + 1, values)
    out.pictures(step + 1, 'samples', PICTURES)
    raise KeyboardInterrupt


def test_the_hparams_tab_has_all_fields_and_metrics_of_all_runs(tmp_path: Path) -> None:
  """Also of runs that were stopped; seen as TensorBoard itself collects them."""
  told(tmp_path / 'vae', config('vae'), 0, {'train/elbo': 1.0})
  told(tmp_path / 'ddpm', config('ddpm', 'seed=3'), 0, {'validation/bits': 2.0})
  runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
  runs.Reload()
  provider = MultiplexerDataProvider(runs, str(tmp_path))
  context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
  request = RequestContext()
  found = context.experiment_from_metadata(
    request, '', True, context.hparams_metadata(request, ''), None
  )
  fields = {info.name for info in found.hparam_infos}
  differ = {'seed', 'objective.name', 'network.name', 'num_steps'}
  assert fields >= differ
  both = set(dict(flatten(config('vae').to_dict())))
  both |= set(dict(flatten(config('ddpm').to_dict())))
  assert fields <= both
  assert {info.name.tag for info in found.metric_infos} >= {'train/elbo', 'validation/bits'}


def test_curves_bear_no_seed_and_lines_do(tmp_path: Path) -> None:
  name = 'score/fid_classifier:a@v2[digits/train:b n=9 against 99 seed=3 by ddim steps=5]'
  told(tmp_path, config('vae', 'seed=3'), 0, {name: 4.0})
  tags = EventAccumulator(str(tmp_path)).Reload().Tags()['scalars']
  assert tags == ['score/fid_classifier:a@v2[digits/train:b n=9 against 99 by ddim steps=5]']
  assert 'seed=3' in (tmp_path / 'metrics.jsonl').read_text()


class Wandb:
  """Remembers what a run of Weights & Biases was told."""

  Error = RuntimeError
  Image = staticmethod(lambda picture: picture.shape)

  def __init__(self) -> None:
    self.begun: list[dict[str, Any]] = []
    self.lines: list[dict[str, Any]] = []
    self.codes: list[int] = []

  def init(self, **fields: Any) -> Any:
    self.begun.append(fields)
    return SimpleNamespace(
      log=self.lines.append,
      define_metric=lambda name, step_metric: None,
      finish=lambda exit_code: self.codes.append(exit_code),
    )


def test_weights_and_biases_is_told_what_tensorboard_is(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  stand_in = Wandb()
  monkeypatch.setitem(sys.modules, 'wandb', stand_in)
  run = config('vae', 'tracker=wandb')
  told(tmp_path / 'a run', run, 0, {'train/loss': 1.0})
  with writer.Writer(tmp_path / 'a run', run, 1) as out:
    assert out.warning(2, 'the critic has won')
  first, second = stand_in.begun
  assert first['id'] == second['id']  # it goes on
  assert first['id'].startswith('a_run-')
  assert (first['name'], first['project'], first['resume']) == ('a run', 'jaxgen', 'allow')
  assert first['config']['optimizer.learning_rate'] == 1e-3
  shape = images.enlarge(images.grid(PICTURES)).shape
  assert stand_in.lines[:2] == [{'step': 1, 'train/loss': 1.0}, {'step': 1, 'samples': shape}]
  assert stand_in.lines[2] == {'step': 2, 'warning': 'the critic has won'}
  assert stand_in.codes == [1, 0]


def test_a_tracker_that_is_not_there_says_what_to_do(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(UserError, match='pip install wandb'):
    writer.Writer(tmp_path, config('vae', 'tracker=wandb'), 0)
  with pytest.raises(UserError, match="Did you mean 'wandb'"):
    writer.Writer(tmp_path, config('vae', 'tracker=wandbb'), 0)

  class Without(Wandb):
    def init(self, **fields: Any) -> Any:
      raise RuntimeError('no account')

  monkeypatch.setitem(sys.modules, 'wandb', Without())
  with pytest.raises(UserError, match='no account; WANDB_MODE=offline needs no account'):
    writer.Writer(tmp_path, config('vae', 'tracker=wandb'), 0)


def test_nothing_is_imported_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with writer.Writer(tmp_path, config(), 0) as out:
    out.scalars(1, {'train/loss': 1.0})


def test_a_tracker_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'diary.py').write_text("""
class Tracker:
  def __init__(self, workdir, fields, step):
    self.file = (workdir / 'diary.txt').open('a')
  def text(self, name, text, step): pass
  def image(self, name, picture, step): pass
  def scalars(self, values, step):
    self.file.write(f'{step} {values}')
  def close(self, finished):
    self.file.write(f' {finished}')
    self.file.close()
""")
  monkeypatch.syspath_prepend(tmp_path)
  assert trackers.find('mine.diary').__name__ == 'Tracker'
  with writer.Writer(tmp_path, config('vae', 'tracker=mine.diary'), 0) as out:
    out.scalars(1, {'loss': 1.0})
  assert (tmp_path / 'diary.txt').read_text() == "1 {'loss': 1.0} True"


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # of its own
def test_weights_and_biases_itself_takes_it_offline(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  pytest.importorskip('wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  monkeypatch.setenv('WANDB_SILENT', 'true')
  (tmp_path / 'run').mkdir()
  for step in (0, 1):
    with writer.Writer(tmp_path / 'run', config('vae', 'tracker=wandb'), step) as out:
      out.scalars(step + 1, {'train/loss': 0.123})
      out.pictures(step + 1, 'samples', PICTURES)
      out.warning(step + 1, f'sentence {step}')
  kept = list((tmp_path / 'run' / 'wandb').glob('offline-run-*/*.wandb'))
  assert len(kept) == 2
  for file in kept:
    content = file.read_bytes()
    assert b'train/loss' in content
    assert b'objective.latent' in content
  assert list((tmp_path / 'run' / 'wandb').glob('offline-run-*/files/media/images/samples*.png'))
