"""Euclidean distances between sets of features, a block at a time: memory stays bounded."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxgen.metrics.checks import require_same_dimension

_BLOCK = 2**22  # distances held at a time: 32 MiB of float64

# What rounding adds to a squared distance, relative to the largest squared norm.
ROUNDING = 1e-13


class Nearest(NamedTuple):
  """Euclidean distances (N, k), ascending, and row numbers (N, k) of the nearest references."""

  distances: np.ndarray
  indices: np.ndarray


def squared_distances(
  queries: np.ndarray, references: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields the rows of a block and their squared distances to all references, in order.

  |q - r|² is one inner product, (-2 q, 1, |q|²)·(r, |r|², 1), so that a block is written once.

  Args:
    queries: float64 (N, d).
    references: float64 (M, d).

  Yields:
    A slice of the queries, and float64 (n, M), to within `ROUNDING` of the largest squared norm.
    The next block takes its place in memory.
  """
  centre = references.mean(axis=0)  # the squares cancel least around the origin
  references = references - centre
  squares = np.sum(references**2, axis=1, keepdims=True)
  columns = np.concatenate([references, squares, np.ones_like(squares)], axis=1).T
  rows = max(1, min(len(queries), _BLOCK // len(references)))
  buffer = np.empty((rows, len(references)))
  for start in range(0, len(queries), rows):
    part = slice(start, min(start + rows, len(queries)))
    block = queries[part] - centre
    own = np.sum(block**2, axis=1, keepdims=True)
    augmented = np.concatenate([-2.0 * block, np.ones_like(own), own], axis=1)
    yield part, np.matmul(augmented, columns, out=buffer[: len(block)])


def nearest(
  queries: np.ndarray, references: np.ndarray, count: int = 1, *, itself: np.ndarray | None = None
) -> Nearest:
  """The `count` nearest references of every query.

  Args:
    queries: features (N, d).
    references: features (M, d).
    count: neighbours wanted.
    itself: integers (N,), the row at which a query stands among the references; it is left out,
      though not its copies. None where queries are no references.

  Returns:
    Distances computed from the differences: a copy is at distance zero.

  Raises:
    ValueError: the features are not fit for a metric or their dimensions differ, or there are
      fewer than `count` references (besides the query itself).
  """
  queries, references = require_same_dimension(queries, references, ('query', 'reference'))
  available = len(references) - (itself is not None)
  if not 1 <= count <= available:
    raise ValueError(f'Cannot find {count} neighbours among {available} references; change count')
  distances = np.empty((len(queries), count))
  indices = np.empty((len(queries), count), np.int64)
  for part, block in squared_distances(queries, references):
    rows = np.arange(len(block))[:, None]
    if itself is not None:
      block[rows[:, 0], itself[part]] = np.inf
    if count == 1:
      near = block.argmin(axis=1)[:, None]
    else:
      near = np.argpartition(block, count - 1, axis=1)[:, :count]
    apart = np.linalg.norm(queries[part, None] - references[near], axis=2)
    order = np.argsort(apart, axis=1, kind='stable')
    indices[part], distances[part] = near[rows, order], apart[rows, order]
  return Nearest(distances, indices)
