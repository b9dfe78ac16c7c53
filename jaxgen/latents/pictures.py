"""Sheets of what codes are decoded to; the first line of each docstring says what is on it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jaxgen.datasets.splits import subset
from jaxgen.latents import codes
from jaxgen.metrics.neighbours import nearest
from jaxgen.objectives import distributions

COLUMNS = 10  # pictures in a row, and most rows
SIDE = 15  # of the manifold
REACH = 3.0  # standard deviations that a traversal goes to either side
BLANK = 128  # the grey of a place without a picture


class Coded(NamedTuple):
  """Images of a split with their codes.

  Attributes:
    images: uint8 (N, H, W, C).
    labels: int64 (N,); None where the data have none.
    codes: float (N, d).
  """

  images: np.ndarray
  labels: np.ndarray | None
  codes: np.ndarray

  def some(self, count: int) -> 'Coded':
    """So many of them, the same every time."""
    rows = subset(len(self.images), count)
    labels = None if self.labels is None else self.labels[rows]
    return Coded(self.images[rows], labels, self.codes[rows])


class Latents(NamedTuple):
  """The codes of images, and the way back.

  Attributes:
    train: that a model was trained on, with their codes.
    test: that it was not.
    decode: codes (N, d) -> uint8 (N, H, W, C).
    prior: noise N(0, I) (N, d) -> codes as samples are decoded from.
  """

  train: Coded
  test: Coded
  decode: Callable[[np.ndarray], np.ndarray]
  prior: Callable[[np.ndarray], np.ndarray]

  def sheet(self, latents: np.ndarray) -> np.ndarray:
    """What codes (rows, columns, d) are decoded to: uint8 (rows, columns, H, W, C)."""
    pictures = self.decode(latents.reshape(-1, latents.shape[-1]))
    return pictures.reshape(*latents.shape[:2], *pictures.shape[1:])


Sheet = Callable[[Latents], np.ndarray | None]  # uint8 (rows, columns, H, W, C), if there is any


def reconstructions(latents: Latents) -> np.ndarray:
  """Test images, and below each what its code is decoded to."""
  shown = latents.test.some(2 * COLUMNS)
  half, back = len(shown.images) // 2, latents.decode(shown.codes)
  return np.concatenate(
    [np.stack([shown.images[part], back[part]]) for part in (slice(half), slice(half, 2 * half))]
  )


def linear_interpolations(latents: Latents) -> np.ndarray:
  """Each row: a test image, codes on the straight line to another one's, and that image."""
  return between(latents, codes.line)


def spherical_interpolations(latents: Latents) -> np.ndarray:
  """Each row: a test image, codes on an arc around the mean code to another one's, that image."""
  mean = latents.train.codes.mean(axis=0)
  arc = jax.vmap(distributions.between, in_axes=(None, None, 0))
  return between(latents, lambda a, b, weights: mean + np.asarray(arc(a - mean, b - mean, weights)))


def between(latents: Latents, path: Callable[..., np.ndarray]) -> np.ndarray:
  """Pairs of test images at the two ends of rows, between them the codes of a path."""
  test, rows = latents.test, subset(len(latents.test.images), 2 * COLUMNS)
  first, last = rows[: len(rows) // 2 * 2].reshape(2, -1)
  weights = np.linspace(0.0, 1.0, COLUMNS - 2)
  ways = [path(*test.codes[[a, b]], weights) for a, b in zip(first, last, strict=True)]
  ends = test.images[first], test.images[last]
  return np.concatenate([ends[0][:, None], latents.sheet(np.stack(ways)), ends[1][:, None]], axis=1)


def traversals(latents: Latents) -> np.ndarray:
  """Each row: one dimension of a test image's code through 3 deviations to either side of its mean.

  The dimensions whose codes vary most come first.
  """
  known = latents.train.codes
  return along(latents, np.eye(known.shape[1])[codes.strongest(known)[:COLUMNS]])


def principal_traversals(latents: Latents) -> np.ndarray:
  """The same along the principal axes of the codes, for models whose dimensions mean nothing."""
  return along(latents, codes.principal_axes(latents.train.codes)[:COLUMNS])


def along(latents: Latents, axes: np.ndarray) -> np.ndarray:
  """A test image's code, its part along one unit vector (rows, d) after another changed."""
  known, start = latents.train.codes, latents.test.some(1).codes[0]
  steps = np.linspace(-REACH, REACH, COLUMNS + 1)
  ways = [
    codes.traversal(start, axis, part.mean() + steps * part.std())
    for axis, part in zip(axes, axes @ known.T, strict=True)
  ]
  return latents.sheet(np.stack(ways))


def arithmetic(latents: Latents) -> np.ndarray | None:
  """First row: mean codes of the classes; others: a test image, its code, moved to each class.

  A code moves to a class by the difference of the mean codes of that class and its own. None where
  no class has images on both sides.
  """
  train, test = latents.train, latents.test
  if train.labels is None:
    return None
  classes = np.intersect1d(train.labels, test.labels)[:COLUMNS]
  if not len(classes):
    return None
  means = codes.class_means(train.codes, train.labels, classes)
  rows = [np.flatnonzero(test.labels == label)[0] for label in classes]
  own = test.codes[rows]
  moved = own[:, None] + means[None] - means[:, None]
  table = latents.sheet(np.concatenate([own[:, None], moved], axis=1))
  body = np.concatenate([test.images[rows][:, None], table], axis=1)
  blank = np.full((2, *body.shape[2:]), BLANK, np.uint8)
  return np.concatenate([np.concatenate([blank, latents.decode(means)])[None], body])


def manifold(latents: Latents) -> np.ndarray:
  """Equally probable codes of two dimensions; of more, along the two principal axes of the codes.

  The other parts are those of a test image's code, for the mean code may be like none, as that of
  many dimensions is. Kingma & Welling 2013, fig. 4.
  """
  known, plane = latents.train.codes, codes.plane(SIDE)
  if known.shape[1] == 2:
    return latents.sheet(latents.prior(plane.reshape(-1, 2)).reshape(plane.shape))
  axes, start = codes.principal_axes(known)[:2], latents.test.some(1).codes[0]
  parts = known @ axes.T
  places = parts.mean(axis=0) + plane[..., : len(axes)] * parts.std(axis=0)
  return latents.sheet(start + (places - axes @ start) @ axes)


def nearest_codes(latents: Latents) -> np.ndarray:
  """Each row: a test image, and the training images whose codes are nearest to its own."""
  shown, train = latents.test.some(COLUMNS), latents.train
  count = min(COLUMNS - 1, len(train.codes))
  near = train.images[nearest(shown.codes, train.codes, count).indices]
  return np.concatenate([shown.images[:, None], near], axis=1)


SHEETS: dict[str, Sheet] = {
  sheet.__name__: sheet
  for sheet in (
    *(reconstructions, linear_interpolations, spherical_interpolations, traversals),
    *(principal_traversals, arithmetic, manifold, nearest_codes),
  )
}


def description(sheet: Sheet) -> str:
  """What is on a sheet, in a sentence."""
  return sheet.__doc__.splitlines()[0]
