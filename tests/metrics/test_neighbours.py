"""Distances and nearest neighbours, against every pair's difference, in blocks of any size."""

import numpy as np
import pytest

from jaxgen.metrics import neighbours
from jaxgen.metrics.neighbours import nearest, squared_distances


def points(count: int, seed: int, dimension: int = 5) -> np.ndarray:
  """Far from the origin, where squares cancel."""
  return 100.0 + np.random.default_rng(seed).normal(size=(count, dimension))


def every_pair(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
  """Squared distances (N, M), from the differences."""
  return np.sum((queries[:, None] - references[None]) ** 2, axis=2)


@pytest.mark.parametrize(('limit', 'rows'), [(1, 1), (19, 1), (40, 2), (45, 2), (1000, 11)])
def test_blocks_are_as_large_as_they_may_be_and_follow_each_other(
  limit: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(neighbours, '_BLOCK', limit)
  queries, references = points(11, 0), points(20, 1)
  expected, start = every_pair(queries, references), 0
  for part, block in squared_distances(queries, references):
    assert (part.start, part.stop) == (start, min(start + rows, 11))
    np.testing.assert_allclose(block, expected[part], atol=1e-10)
    start = part.stop
  assert start == 11


def test_memory_for_the_distances_is_bounded() -> None:
  blocks = [block.nbytes for _, block in squared_distances(points(5000, 0), points(2000, 1))]
  assert max(blocks) <= 32 * 2**20
  assert len(blocks) == 3


@pytest.mark.parametrize('far', [0.0, 1e6])
def test_squares_do_not_cancel_far_from_the_origin(far: float) -> None:
  """Wherever the points lie, rounding is that of their squared norms around their centre."""
  away = far * np.array([1.0, -1.0, 0.0, 2.0, 0.5])
  queries, references = points(30, 0) - 100.0, points(40, 1) - 100.0
  (_, found), *_ = squared_distances(queries + away, references + away)
  largest = np.sum(references**2, axis=1).max()
  error = np.abs(found - every_pair(queries + away, references + away)).max() / largest
  assert error < neighbours.ROUNDING < 1e-10


def test_a_block_takes_the_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(neighbours, '_BLOCK', 60)
  blocks = [block for _, block in squared_distances(points(11, 0), points(20, 1))]
  assert all(np.shares_memory(blocks[0], block) for block in blocks)


@pytest.mark.parametrize('count', [1, 2, 100, 200])
def test_the_nearest_are_those_of_every_pair_in_order(
  count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(neighbours, '_BLOCK', 600)  # 3 queries at a time
  queries, references = points(11, 0), points(200, 1)
  pairs = every_pair(queries, references)
  found = nearest(queries, references, count)
  assert found.indices.shape == found.distances.shape == (11, count)
  np.testing.assert_array_equal(found.indices, np.argsort(pairs, axis=1)[:, :count])
  np.testing.assert_allclose(found.distances, np.sqrt(np.sort(pairs, axis=1)[:, :count]))


@pytest.mark.parametrize('count', [1, 2, 18])
def test_a_reference_is_not_its_own_neighbour(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(neighbours, '_BLOCK', 60)
  references = points(19, 0)
  order = np.random.default_rng(2).permutation(19)
  found = nearest(references[order], references, count, itself=order)
  pairs = every_pair(references[order], references)
  pairs[np.arange(19), order] = np.inf
  np.testing.assert_array_equal(found.indices, np.argsort(pairs, axis=1)[:, :count])


@pytest.mark.parametrize('count', [1, 3])
def test_a_copy_is_a_neighbour_at_distance_zero(count: int) -> None:
  references = points(30, 0)
  references[17] = references[4]
  found = nearest(references[[4]], references, count, itself=np.array([4]))
  assert found.indices[0, 0] == 17
  assert found.distances[0, 0] == 0.0


def test_one_neighbour_is_found_where_no_number_is_given() -> None:
  references = points(30, 0)
  found = nearest(references[[9]], references)
  assert (found.indices.tolist(), found.distances.tolist()) == ([[9]], [[0.0]])


@pytest.mark.parametrize(('count', 'itself'), [(0, False), (-1, False), (6, False), (5, True)])
def test_more_neighbours_than_there_are_is_refused(count: int, itself: bool) -> None:
  references = points(5, 0)
  rows = np.arange(5) if itself else None
  words = f'Cannot find {count} neighbours among {5 - itself} references; change count'
  with pytest.raises(ValueError, match=words):
    nearest(references, references, count, itself=rows)


def test_as_many_neighbours_as_there_are_is_allowed() -> None:
  references = points(5, 0)
  assert nearest(references, references, 5).distances.shape == (5, 5)
  assert nearest(references, references, 4, itself=np.arange(5)).distances.shape == (5, 4)


def test_features_of_two_kinds_are_refused() -> None:
  words = 'The query features have dimension 3, the reference features 5'
  with pytest.raises(ValueError, match=words):
    nearest(points(4, 0, 3), points(4, 0, 5))
