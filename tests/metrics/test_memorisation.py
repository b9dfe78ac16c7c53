"""Memorisation: neighbours, ratio and authenticity, by hand and against tree and brute search."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from jaxgen.metrics import neighbours
from jaxgen.metrics.memorisation import memorisation
from jaxgen.metrics.neighbours import nearest

Draw = Callable[..., np.ndarray]


def test_points_on_a_line_by_hand() -> None:
  training = np.array([[0.0], [1.0], [5.0], [7.0]])  # gaps: 1, 1, 2, 2
  test = np.array([[2.0], [3.0], [9.0]])  # to training: 1, 2, 2
  generated = np.array([[0.4], [3.5], [8.5], [10.0]])  # to training: 0.4, 1.5, 1.5, 3
  near = nearest(generated, training, 2)
  assert near.indices.tolist() == [[0, 1], [2, 1], [3, 2], [3, 2]]
  np.testing.assert_allclose(near.distances[:, 0], [0.4, 1.5, 1.5, 3.0])
  result = memorisation(training, test, generated)
  assert result.distance_ratio == pytest.approx(1.5 / 2.0)
  assert result.authenticity == 1 / 4  # only 10 is farther from 7 than 5 is


def test_neighbours_agree_with_tree_search(
  gaussians: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
  training, queries = gaussians(0, 400), gaussians(1, 150)
  monkeypatch.setattr(neighbours, '_BLOCK', 37 * 400)
  tree = NearestNeighbors(n_neighbors=4, algorithm='kd_tree').fit(training.astype(float))
  distances, indices = tree.kneighbors(queries.astype(float))
  found = nearest(queries, training, 4)
  np.testing.assert_array_equal(found.indices, indices)
  np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
  distances, indices = tree.kneighbors()
  found = nearest(training, training, 4, itself=np.arange(400))
  np.testing.assert_array_equal(found.indices, indices)


def test_authenticity_agrees_with_all_pairs(gaussians: Draw) -> None:
  """As the AuthPct of dgm-eval defines it."""
  training, generated = gaussians(0, 300), gaussians(1, 200)
  apart = np.linalg.norm(training[:, None] - training[None], axis=2)
  np.fill_diagonal(apart, np.inf)
  across = np.linalg.norm(training[:, None] - generated[None], axis=2)
  expected = np.mean(apart.min(axis=0)[across.argmin(axis=0)] < across.min(axis=0))
  assert memorisation(training, gaussians(2), generated).authenticity == expected


def test_copies_are_at_distance_zero_and_held_out_images_at_ratio_one(gaussians: Draw) -> None:
  training, test = gaussians(0, 2000) + 100.0, gaussians(1, 1000) + 100.0
  copies = memorisation(training, test, training[:500])
  assert nearest(training[:500], training).indices[:, 0].tolist() == list(range(500))
  assert (copies.distance_ratio, copies.authenticity) == (0.0, 0.0)
  nearly = training[:500] + 1e-3
  assert memorisation(training, test, nearly).authenticity < 0.01
  fresh = memorisation(training, test, gaussians(2, 1000) + 100.0)
  assert fresh.distance_ratio == pytest.approx(1.0, abs=0.05)
  assert fresh.authenticity > 0.5


def test_a_copy_of_itself_is_left_in(gaussians: Draw) -> None:
  doubled = np.concatenate([gaussians(0, 50)] * 2)
  found = nearest(doubled, doubled, itself=np.arange(100))
  assert found.indices[:, 0].tolist() == [*range(50, 100), *range(50)]
  assert np.all(found.distances == 0.0)


def test_an_image_as_far_as_the_next_training_image_is_no_authentic_one() -> None:
  """Ties are copies: of a training image that is there twice, too, whose gap is zero."""
  training = np.array([[0.0], [2.0], [7.0], [7.0]])
  test = np.array([[3.0], [4.0]])
  for value, share in ((-2.0, 0.0), (-2.5, 1.0), (7.0, 0.0), (7.5, 1.0)):
    assert memorisation(training, test, np.array([[value]])).authenticity == share


def test_bad_input_is_refused(gaussians: Draw) -> None:
  training = gaussians(0)
  with pytest.raises(ValueError, match='Cannot find 3 neighbours among 2 references'):
    nearest(training, training[:2], 3)
  with pytest.raises(ValueError, match='copies of training images'):
    memorisation(training, training[:10], gaussians(1))
  with pytest.raises(ValueError, match='query features have dimension 7'):
    memorisation(training, training, training[:, :7])
