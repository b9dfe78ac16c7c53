"""Draws of labels, and linear probes of features that tell all, and that tell nothing."""

import numpy as np

from jaxgen.latents import probe

RNG = np.random.default_rng(0)
TRAIN, TEST = RNG.permutation(np.arange(1200) % 4), RNG.permutation(np.arange(200) % 4)


def test_labels_are_drawn_evenly_and_by_seed() -> None:
  labels = np.array([0] * 50 + [1] * 30 + [2] * 3)
  rows = probe.draw(labels, 23, seed=1)
  assert len(set(rows)) == 23
  assert np.bincount(labels[rows]).tolist() == [10, 10, 3]
  np.testing.assert_array_equal(rows, probe.draw(labels, 23, seed=1))
  assert (rows != probe.draw(labels, 23, seed=2)).any()
  np.testing.assert_array_equal(probe.draw(labels, 83, seed=1), np.arange(83))


def test_a_probe_reads_what_features_tell() -> None:
  def telling(labels: np.ndarray) -> np.ndarray:
    return 1e-3 * np.eye(4)[labels] + 50.0  # of any scale and place

  def silent(labels: np.ndarray) -> np.ndarray:
    return RNG.normal(size=(len(labels), 4))

  features = {name: (f(TRAIN), f(TEST)) for name, f in (('all', telling), ('nothing', silent))}
  found = probe.probe(features, TRAIN, TEST, seed=0)
  by_labels = found['accuracy_by_labels']
  assert list(by_labels) == ['100', '1000', '1200']
  for count, row in by_labels.items():
    draws = 1 if count == '1200' else 5
    assert row['all'] == {'mean': 1.0, 'deviation': 0.0 if draws > 1 else None, 'draws': draws}
    assert abs(row['nothing']['mean'] - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 200)  # guessing
  assert (by_labels['100']['nothing']['deviation'] or 0.0) > 0.0
  table = probe.table(found).splitlines()
  assert table[0].split() == ['labels', 'all', 'nothing']
  assert table[3].split()[:2] == ['1200', '1.000']
