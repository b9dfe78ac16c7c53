"""Precision, recall, density, coverage: by hand, by their authors' code, in the right order."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from jaxgen.metrics import neighbours
from jaxgen.metrics.coverage import ManifoldOverlap, manifold_overlap, overlap_and_errors

Draw = Callable[..., np.ndarray]


def test_points_on_a_line_by_hand() -> None:
  real = np.array([[0.0], [1.0], [2.5], [10.0]])  # radii to the nearest: 1, 1, 1.5, 7.5
  generated = np.array([[0.5], [2.2], [30.0], [30.5]])  # radii: 1.7, 1.7, 0.5, 0.5
  overlap = manifold_overlap(real, generated, precision_neighbours=1, density_neighbours=1)
  assert overlap == ManifoldOverlap(
    precision=2 / 4,  # 0.5 and 2.2
    recall=3 / 4,  # 10 is in no generated ball
    density=(2 + 1) / 4,  # 0.5 in the balls of 0 and 1; 2.2 in that of 2.5 (of 10: 7.8 > 7.5)
    coverage=3 / 4,
  )


def test_balls_are_rounded_up_by_the_spread_and_not_by_where_it_lies() -> None:
  """Moving one axis far away leaves a point outside that is a little outside."""
  real, outside = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[2.00002, 0.0], [3.0, 0.0]])
  for far in (0.0, 5e4):
    there = np.array([0.0, far])
    overlap = manifold_overlap(
      real + there, outside + there, precision_neighbours=1, density_neighbours=1
    )
    assert overlap.precision == 0.0


def test_dropped_modes_lower_recall_and_broken_samples_lower_precision(gaussians: Draw) -> None:
  modes = np.array([[0.0] * 8, [1000.0] * 8], np.float32)
  real = np.concatenate([gaussians(0, 200) + modes[0], gaussians(1, 200) + modes[1]])
  one_mode = gaussians(2, 400) + modes[0]
  broken = np.concatenate([gaussians(3, 200) + modes[0], gaussians(4, 200) - modes[1]])
  dropped = manifold_overlap(real, one_mode)
  assert dropped.precision > 0.8
  assert 0.3 < dropped.recall < 0.5
  assert dropped.density > 0.8
  assert 0.4 < dropped.coverage <= 0.5
  spoiled = manifold_overlap(real, broken)
  assert 0.35 < spoiled.precision <= 0.5


def test_swapping_the_sets_swaps_precision_and_recall(gaussians: Draw) -> None:
  a, b = gaussians(0, 300), gaussians(1, 300, scale=0.5)
  forward, backward = manifold_overlap(a, b), manifold_overlap(b, a)
  assert forward.precision > forward.recall + 0.3
  assert (forward.precision, forward.recall) == (backward.recall, backward.precision)


def test_agrees_with_tree_search(gaussians: Draw) -> None:
  real, generated = gaussians(0, 300), gaussians(1, 400, scale=1.3)
  radii = {
    (name, k): NearestNeighbors(n_neighbors=k).fit(f).kneighbors()[0][:, -1]
    for name, f in (('real', real), ('generated', generated))
    for k in (3, 5)
  }
  apart = np.linalg.norm(real[:, None].astype(float) - generated[None].astype(float), axis=2)
  overlap = manifold_overlap(real, generated)
  assert overlap.precision == np.mean(np.any(apart <= radii['real', 3][:, None], axis=0))
  assert overlap.recall == np.mean(np.any(apart <= radii['generated', 3][None], axis=1))
  inside = apart <= radii['real', 5][:, None]
  assert overlap.density == pytest.approx(inside.sum() / (5 * 400))
  assert overlap.coverage == np.mean(inside.any(axis=1))


def test_copies_of_the_real_images_fill_the_manifold(gaussians: Draw) -> None:
  """Closed balls: each real ball holds its own image and its k neighbours."""
  real = gaussians(0, 300) + 1e4
  overlap = manifold_overlap(real, real[::-1], precision_neighbours=5)
  assert overlap == pytest.approx(ManifoldOverlap(1.0, 1.0, 6 / 5, 1.0))


def test_blocks_do_not_change_the_result(gaussians: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
  a, b = gaussians(0, 300), gaussians(1, 200)
  whole = manifold_overlap(a, b)
  monkeypatch.setattr(neighbours, '_BLOCK', 7 * 300)
  assert manifold_overlap(a, b) == whole


def test_errors_are_those_of_leaving_each_sample_out() -> None:
  """Points on a line, where no radius of the real images depends on the samples."""
  generator = np.random.default_rng(0)
  real, made = generator.normal(size=(60, 1)), generator.normal(0.5, 1.5, size=(40, 1))
  value, error = overlap_and_errors(real, made)
  assert value == manifold_overlap(real, made)
  left = np.array([manifold_overlap(real, np.delete(made, row, axis=0)) for row in range(40)])
  jackknife = np.sqrt(39 / 40 * np.sum((left - left.mean(axis=0)) ** 2, axis=0))
  for name in ('precision', 'density', 'coverage'):
    place = ManifoldOverlap._fields.index(name)
    # what is left out of a mean of n weighs 1 / n; out of the covered, the same on average
    assert error[place] == pytest.approx(jackknife[place], rel=0.05), name


def test_no_share_is_known_better_than_to_one_image(gaussians: Draw) -> None:
  value, error = overlap_and_errors(gaussians(0, 150), gaussians(0, 150))
  assert (value.precision, value.recall, value.coverage) == (1.0, 1.0, 1.0)
  assert min(error) >= 1 / 150


def test_errors_are_the_spread_over_repetitions(gaussians: Draw) -> None:
  real = gaussians(0, 150)
  found = [overlap_and_errors(real, gaussians(seed, 150, scale=1.2)) for seed in range(1, 61)]
  values, errors = (np.array(part) for part in zip(*found, strict=True))
  ratio = np.sqrt(np.mean(errors**2, axis=0)) / values.std(axis=0, ddof=1)
  assert np.all((ratio > 0.75) & (ratio < 1.6)), ratio


def test_bad_input_is_refused(gaussians: Draw) -> None:
  x = gaussians(0)
  with pytest.raises(ValueError, match='at least 6 images'):
    manifold_overlap(x, x[:5])
  with pytest.raises(ValueError, match='at least 1 neighbour'):
    manifold_overlap(x, x, precision_neighbours=0)
  with pytest.raises(ValueError, match='All 500 generated images have the same features'):
    manifold_overlap(x, np.zeros_like(x))
  with pytest.raises(ValueError, match=r'generated features of 1 of 500 .* first at image 3'):
    manifold_overlap(x, np.where(np.arange(500)[:, None] == 3, np.nan, x))
  with pytest.raises(ValueError, match=r'shape \(500,\)'):
    manifold_overlap(x[:, 0], x)
  with pytest.raises(ValueError, match='real features are uint8'):
    manifold_overlap(x.astype(np.uint8), x)
