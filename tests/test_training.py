"""The loop between updates, on a model of one number."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxgen import objectives
from jaxgen.main import main
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.lines import summary
from jaxgen.training.stopping import StopRequests
from tests import toy


def test_a_step_is_called_safe_when_it_is_on_disk(tmp_path: Path) -> None:
  """However long its writing takes: a run that is stopped then must not lose it."""
  write, safe, found = Checkpoints._write, StopRequests.safe, {}

  def slow(self: Checkpoints, step: int, state: Any) -> None:
    time.sleep(0.3)
    write(self, step, state)

  def watched(self: StopRequests, step: int) -> None:
    found[step] = (tmp_path / 'run' / 'checkpoints' / str(step)).is_dir()
    safe(self, step)

  with toy.at_hand(tmp_path) as patch:
    patch.setattr(Checkpoints, '_write', slow)
    patch.setattr(StopRequests, 'safe', watched)
    assert main(toy.command(tmp_path / 'run')) == 0
  assert found == {0: False, 2: True, 4: True}


def test_a_warning_is_said_once_in_a_run(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  """At the console, in metrics.jsonl and in TensorBoard, also by a run that goes on after it."""
  asked: list[dict[str, float]] = []

  def warn(step: int, means: dict[str, float]) -> list[str]:
    if 'loss' not in means:  # those of held-out images
      return []
    asked.append(means)
    assert step == len(asked)
    return ['It is late.'] if step > 1 else []

  run, said = tmp_path / 'run', 'Warning at step 2: It is late.'
  with toy.at_hand(tmp_path) as patch:
    model = toy.halfway()._replace(warn=warn)
    patch.setattr(objectives, 'find_objective', lambda *_: model)
    assert main(toy.command(run)) == 0
    out = capsys.readouterr().out
    assert out.count('It is late.') == out.count(said) == 1
    assert main([*toy.command(run), f'--config.num_steps={toy.STEPS + 2}']) == 0
  assert 'It is late.' not in capsys.readouterr().out
  assert len(asked) == toy.STEPS + 2
  assert [means['loss'] for means in asked] == pytest.approx([toy.pixel(toy.TRAIN)] * len(asked))
  records = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
  found = [record for record in records if 'warning' in record]
  assert found == [{'step': 2, 'warning': 'It is late.'}]
  texts = EventAccumulator(str(run), size_guidance={'tensors': 0}).Reload()
  (text,) = texts.Tensors('warning/text_summary')
  assert text.step == 2
  assert text.tensor_proto.string_val[0] == b'It is late.'


def test_a_line_of_progress_has_scores_and_losses_first_and_no_more_than_six() -> None:
  means = {f'train/critic/{letter}': 1.0 for letter in 'abcdefg'}
  means |= {'train/generator/loss': 0.5, 'score/fid': 12.3456}
  assert summary(means) == (
    'fid 12.35  generator/loss 0.5  critic/a 1  critic/b 1  critic/c 1  critic/d 1 ...'
  )
  assert summary({'train/loss': 2.0}) == 'loss 2'
