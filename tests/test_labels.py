"""Labels that samples were asked for, from the command line to the scores."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxgen import datasets, objectives
from jaxgen.main import main
from jaxgen.objectives.base import Image, Key, Label, Params
from tests import toy


def test_samples_are_held_against_the_labels_they_were_asked_for(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  """In training and after it, for another seed too: a model draws the mean digit of its label."""
  train = datasets.named('digits').train
  images, labels = train.images, train.labels
  means = jnp.stack([jnp.float32(images[labels == k].mean(axis=0) / 127.5 - 1) for k in range(10)])

  def sample(params: Params, label: Label, key: Key) -> Image:
    return means[label] + 0.05 * jax.random.normal(key, means.shape[1:])

  model = toy.halfway()._replace(sample=sample, conditional=True)
  monkeypatch.setattr(objectives, 'find_objective', lambda *_: model)
  many = ('--config.evaluation.training_samples=40', '--config.evaluation.num_samples=40')
  assert main([*toy.command(tmp_path), *many]) == 0
  assert main([f'--workdir={tmp_path}', '--mode=evaluate', '--config.seed=3']) == 0
  last = json.loads((tmp_path / 'metrics.jsonl').read_text().splitlines()[-1])
  (in_training,) = (v for name, v in last.items() if name.startswith('score/label_accuracy'))
  evaluation = json.loads((tmp_path / 'evaluation.json').read_text())
  after = [
    number['value']
    for number in evaluation['ema_scores']['numbers']
    if number['protocol']['metric'] == 'label_accuracy_classifier'
  ]
  assert min(in_training, *after) > 0.9  # where chance has 0.1
