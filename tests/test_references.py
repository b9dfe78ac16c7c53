"""The data's own images are looked at once, and again where what was kept cannot be used."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import datasets
from jaxgen.configuration import load
from jaxgen.datasets import splits
from jaxgen.evaluation import references
from jaxgen.features import pixels


def test_references_are_looked_at_once(tmp_path: Path) -> None:
  digits = datasets.load(load('experiments/vae.py', None, []).data)
  features = pixels.build(digits.image_shape)
  looked: list[int] = []

  def extract(images: np.ndarray) -> Any:
    looked.append(len(images))
    return features.extract(images)

  watched = features._replace(extract=extract)

  def found(images: splits.Dataset) -> dict[str, references.Reference]:
    looked.clear()
    return references.references(images, watched, ('test', 'train'), tmp_path)

  first = found(digits)
  assert sum(looked) == len(digits.test.images) + len(digits.train.images)
  again = found(digits)
  assert not looked
  for name in ('test', 'train'):
    for a, b in zip(first[name].seen, again[name].seen, strict=True):
      np.testing.assert_array_equal(a, b)
  # Other images, and damaged files, are looked at.
  fewer = digits._replace(train=splits.Split(digits.train.images[:50], digits.train.labels[:50]))
  assert len(found(fewer)['train'].seen.features) == sum(looked) == 50
  for file in tmp_path.iterdir():
    file.write_bytes(file.read_bytes()[:100])
  assert len(found(digits)['train'].seen.features) == len(digits.train.images)
  assert sum(looked) == len(digits.test.images) + len(digits.train.images)


def test_a_classifier_may_learn_from_all_images_that_are_not_for_testing() -> None:
  """Those of validation too, whatever share is held out for it, and never those of the test."""
  parts = [splits.Split(np.full((3, 2, 2, 1), i, np.uint8), np.full(3, i)) for i in range(3)]
  images, labels, test, test_labels = references.labelled(splits.Dataset(*parts))
  np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
  np.testing.assert_array_equal(test[:, 0, 0, 0], [2, 2, 2])
  np.testing.assert_array_equal(test_labels, [2, 2, 2])
  for place, count in ((0, None), (1, 3), (2, None)):
    lacking = list(parts)
    lacking[place] = parts[place]._replace(labels=None)
    found = references.labelled(splits.Dataset(*lacking))
    assert (found if found is None else len(found[1])) == count
