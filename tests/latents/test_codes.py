"""Paths, directions and means of codes against geometry, and sheets under a linear decoder."""

import jax
import numpy as np
import pytest
from scipy import stats

from jaxgen.latents import codes, pictures
from jaxgen.latents.pictures import Coded, Latents
from jaxgen.objectives.distributions import between

RNG = np.random.default_rng(0)
D, SHAPE, CLASSES = 3, (2, 2, 1), 4
W, B = RNG.normal(size=(D, 4)), RNG.normal(size=4)
WEIGHTS = np.linspace(0.0, 1.0, 7)

arc = jax.vmap(between, in_axes=(None, None, 0))


def linear(z: np.ndarray) -> np.ndarray:
  """z W + b as images that nothing rounds."""
  return (z @ W + B).reshape(-1, *SHAPE)


def coded(count: int) -> Coded:
  labels = RNG.permutation(np.arange(count) % CLASSES)
  z = RNG.normal(size=(count, D)) * [0.5, 2.0, 1.0] + labels[:, None]
  return Coded(linear(z), labels, z)


LATENTS = Latents(coded(200), coded(60), linear, lambda noise: noise)


def test_an_arc_keeps_the_norm_and_turns_at_a_constant_rate() -> None:
  start, end = np.array([3.0, 0.0, 0.0]), np.array([-1.0, 1.0, 1.0]) * np.sqrt(3.0)
  path = np.asarray(arc(start, end, WEIGHTS))
  np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(path, axis=1), 3.0, rtol=1e-5)
  whole = np.arccos(start @ end / 9.0)
  np.testing.assert_allclose(path @ start / 9.0, np.cos(whole * WEIGHTS), atol=1e-5)
  assert np.linalg.norm(codes.line(start, end, WEIGHTS), axis=1).min() < 2.0  # which an arc avoids


def test_the_norm_of_an_arc_goes_evenly_from_one_to_the_other() -> None:
  path = arc(*RNG.normal(size=(2, 40)) * [[1.0], [5.0]], WEIGHTS)
  norms = np.linalg.norm(path, axis=1)
  np.testing.assert_allclose(np.diff(norms), (norms[-1] - norms[0]) / 6.0, rtol=1e-4)


@pytest.mark.parametrize('factor', [2.0, 1.0, 0.0, -1.0])
def test_an_arc_between_codes_of_one_direction_is_a_line(factor: float) -> None:
  code = np.array([1.0, 2.0])
  np.testing.assert_allclose(
    arc(code, factor * code, WEIGHTS), np.outer(1.0 + WEIGHTS * (factor - 1.0), code), atol=1e-6
  )


def test_the_strongest_dimensions_and_axes_come_first() -> None:
  z = np.concatenate([np.diag([1.0, 3.0, 2.0]), -np.diag([1.0, 3.0, 2.0])]) + 7.0
  assert codes.strongest(z).tolist() == [1, 2, 0]
  np.testing.assert_allclose(codes.principal_axes(z), np.eye(3)[[1, 2, 0]], atol=1e-12)
  turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
  found = codes.principal_axes(z @ turn.T)
  np.testing.assert_allclose(np.abs(found @ turn), np.eye(3)[[1, 2, 0]], atol=1e-12)
  assert (found.max(axis=1) > -found.min(axis=1)).all()


def test_traversals_change_one_part_of_a_code() -> None:
  sheet = pictures.traversals(LATENTS)
  start, known = LATENTS.test.some(1).codes[0], LATENTS.train.codes
  assert sheet.shape == (D, 11, *SHAPE)
  for row, dimension in zip(sheet, codes.strongest(known), strict=True):
    for picture, steps in zip(row, np.linspace(-3.0, 3.0, 11), strict=True):
      code = start.copy()
      code[dimension] = known[:, dimension].mean() + steps * known[:, dimension].std()
      np.testing.assert_allclose(picture, linear(code[None])[0])


def test_arithmetic_under_a_linear_decoder_adds_differences_of_mean_images() -> None:
  sheet, train, test = pictures.arithmetic(LATENTS), LATENTS.train, LATENTS.test
  means = np.stack([train.images[train.labels == label].mean(axis=0) for label in range(CLASSES)])
  np.testing.assert_allclose(sheet[0, 2:], means)
  for label, row in enumerate(sheet[1:]):
    image = test.images[np.flatnonzero(test.labels == label)[0]]
    np.testing.assert_allclose(row[0], image)
    np.testing.assert_allclose(row[1], image)
    np.testing.assert_allclose(row[2:], image + means - means[label])
  unlabelled = LATENTS._replace(train=train._replace(labels=None))
  assert pictures.arithmetic(unlabelled) is None
  apart = LATENTS._replace(test=LATENTS.test._replace(labels=LATENTS.test.labels + 100))
  assert pictures.arithmetic(apart) is None  # no class has images on both sides


def test_interpolations_join_test_images() -> None:
  for sheet in (pictures.linear_interpolations, pictures.spherical_interpolations):
    rows = sheet(LATENTS)
    np.testing.assert_allclose(rows[:, 0], rows[:, 1], atol=1e-5)
    np.testing.assert_allclose(rows[:, -1], rows[:, -2], atol=1e-5)
    assert rows.shape == (10, 10, *SHAPE)
  rows = pictures.linear_interpolations(LATENTS)
  np.testing.assert_allclose(rows[:, 1:-1].mean(axis=1), (rows[:, 0] + rows[:, -1]) / 2.0)


def test_a_manifold_is_of_equally_probable_codes() -> None:
  u = stats.norm.cdf(codes.plane(5))
  np.testing.assert_allclose(u[2, :, 0], [0.1, 0.3, 0.5, 0.7, 0.9])
  np.testing.assert_allclose(u[:, 2, 1], [0.1, 0.3, 0.5, 0.7, 0.9])
  two = Coded(LATENTS.train.images, None, LATENTS.train.codes[:, :2])
  wide = Latents(two, two, lambda z: z.reshape(-1, 1, 1, 2), lambda noise: 3.0 * noise)
  np.testing.assert_allclose(pictures.manifold(wide)[:, :, 0, 0], 3.0 * codes.plane(15))


def test_a_manifold_of_more_dimensions_is_the_plane_of_the_principal_axes() -> None:
  found = pictures.manifold(LATENTS._replace(decode=lambda z: z.reshape(-1, 1, 1, D)))
  z, known = found.reshape(-1, D), LATENTS.train.codes
  axes, start = codes.principal_axes(known), LATENTS.test.some(1).codes[0]
  expected = [*axes[:2] @ known.mean(axis=0), axes[2] @ start]
  np.testing.assert_allclose(axes @ z.mean(axis=0), expected)
  variances = np.linalg.eigvalsh(np.cov(known.T, bias=True))
  shrunk = codes.quantiles(15).var()  # of a grid, against that of N(0, 1)
  np.testing.assert_allclose(
    np.linalg.eigvalsh(np.cov(z.T, bias=True)), [0.0, *variances[1:] * shrunk], atol=1e-12
  )


def test_the_nearest_codes_are_found_by_distance() -> None:
  sheet, shown = pictures.nearest_codes(LATENTS), LATENTS.test.some(10)
  assert sheet.shape == (10, 10, *SHAPE)
  for row, image, code in zip(sheet, shown.images, shown.codes, strict=True):
    order = np.argsort(np.linalg.norm(LATENTS.train.codes - code, axis=1))[:9]
    np.testing.assert_array_equal(row[0], image)
    np.testing.assert_array_equal(row[1:], LATENTS.train.images[order])


@pytest.mark.parametrize('count', [60, 7, 2])
def test_reconstructions_stand_below_their_images(count: int) -> None:
  """Of however many images there are."""
  sheet = pictures.reconstructions(LATENTS._replace(test=LATENTS.test.some(count)))
  assert sheet.shape == (4, min(10, count // 2), *SHAPE)
  np.testing.assert_allclose(sheet[1::2], sheet[::2])
