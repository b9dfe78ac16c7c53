"""The score of memorised images is off by 1 / n, which is faster than the bound for networks

Theorem 2 of Chen et al. 2023: for data on a subspace of dimension d in R^D the squared error of a
network's score, averaged over t from t_0 to T, is with high probability at most of order (1 / t_0)
(n^(-2 / (d + 5)) + D n^(-(d + 3) / (d + 5))), times powers of log n, in the number n of images. It
bounds from above, up to an unknown constant, what the best of a class of ReLU networks reaches on
laws with Lipschitz scores. A slope in n can contradict it in one direction only.

Measured: another estimator, the exact score of the n images noised, which is what a network that
memorises learns; on A z, D = 8, every coordinate of z a mixture of two Gaussians. As a mean of
images it never leaves the subspace, and its orthogonal part is exact whatever D. To first order in
1 / n its squared error at x is E |((a z - x) / h - s(x)) N(x; a z, h I)|^2 / n p(x)^2 under x|z ~
N(a z, h I) with score s, which adds up to d A B^(d - 1) / n over x, A and B integrals along one
coordinate, and goes as h^(-1 - d / 2): beyond d = 2 the sum over t grows faster than 1 / t_0, so
that no memorising score reaches the theorem's rate at small t_0. It holds in the middle, |x_j| <=
1.25 a; beyond all images, where one draw of n lies, the error goes as 1 / h^2.
"""

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.integrate import quad
from scipy.stats import norm

from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean, mean_slope
from jaxgen.theory.mixtures import Mixture, levels

PART = Mixture(np.array([0.5, 0.5]), np.array([[-1.0], [1.0]]), np.array([0.5, 0.5]))
FIRST, LAST, AMBIENT, POINTS, MIDDLE = 0.1, 5.0, 8, 300, 1.25


def true_score(z: np.ndarray, alpha: float, h: float) -> np.ndarray:
  """Of each coordinate alone, (N, d)."""
  v = alpha**2 * PART.deviations[0] ** 2 + h
  return (alpha * np.tanh(alpha * z / v) - z) / v  # both parts have one deviation


def empirical_score(x: np.ndarray, images: np.ndarray, alpha: float, h: float) -> np.ndarray:
  """grad log of the mean over images of N(x; alpha image, h I), (N, D)."""
  logits = (alpha * x @ images.T - 0.5 * alpha**2 * np.sum(images**2, axis=1)[None]) / h
  shares = np.exp(logits - logits.max(axis=1, keepdims=True))
  shares /= shares.sum(axis=1, keepdims=True)
  return (alpha * shares @ images - x) / h


def missed(
  t: float, dimension: int, counts: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Points of the subspace (POINTS, d) and the squared errors there of n images (N, POINTS)."""
  alpha, h = levels(t)
  axes = np.linalg.qr(generator.normal(size=(AMBIENT, dimension)))[0]
  images = PART.draw(counts.max() * dimension, generator).reshape(-1, dimension) @ axes.T
  z = PART.draw(POINTS * dimension, generator).reshape(POINTS, dimension)
  x = alpha * z @ axes.T + np.sqrt(h) * generator.normal(size=(POINTS, AMBIENT))
  inside = x @ axes
  truth = true_score(inside, alpha, h) @ axes.T - (x - inside @ axes.T) / h
  found = [empirical_score(x, images[:count], alpha, h) - truth for count in counts]
  return inside, np.sum(np.square(found), axis=2)


def errors(dimension: int, counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  """The squared error for each n, averaged over t from FIRST to LAST, (N,)."""
  nodes, weights = leggauss(6)
  times = FIRST * (LAST / FIRST) ** (0.5 * (nodes + 1.0))
  weights = 0.5 * weights * np.log(LAST / FIRST) * times / (LAST - FIRST)
  found = [missed(t, dimension, counts, generator)[1].mean(axis=1) for t in times]
  return weights @ found


def middle(t: float, dimension: int, count: int, generator: np.random.Generator) -> float:
  """n times the squared error of n images, of the points in the middle."""
  inside, found = missed(t, dimension, np.array([count]), generator)
  near = np.all(np.abs(inside) <= MIDDLE * levels(t)[0], axis=1)
  return float(count * np.mean(near * found[0]))


def first_order(t: float, dimension: int) -> float:
  """d A B^(d - 1)."""
  alpha, h = levels(t)
  law, seen = PART.noised(alpha, np.sqrt(h)), PART.noised(alpha, np.sqrt(0.5 * h))

  def integrand(x: float, power: int) -> float:
    # N(x; a z, h)^2 is N(x; a z, h / 2) / sqrt(4 pi h), under which a z has a known posterior.
    shares = seen.weights * norm.pdf(x, seen.means[:, 0], seen.deviations)
    narrowed = (alpha * PART.deviations) ** 2 / seen.deviations**2
    expected = seen.means[:, 0] + narrowed * (x - seen.means[:, 0]) - x
    off = expected - h * true_score(np.array([[x]]), alpha, h).item()
    squares = (narrowed * 0.5 * h + off**2) / h**2 if power else 1.0
    p = law.weights @ norm.pdf(x, law.means[:, 0], law.deviations)
    return np.sum(shares * squares) / np.sqrt(4.0 * np.pi * h) / p

  A, B = (quad(integrand, -MIDDLE * alpha, MIDDLE * alpha, (power,))[0] for power in (1, 0))
  return dimension * A * B ** (dimension - 1)


def claim(full: bool) -> Claim:
  generator = np.random.default_rng(0)
  counts = 2 ** np.arange(6, 14 if full else 11)
  repetitions, rows, lines = 24 if full else 6, [], {}
  for d in (1, 2, 4):
    found = np.array([errors(d, counts, generator) for _ in range(repetitions)])
    bound = -2.0 / (d + 5)
    name = f'slope of the error in n, d = {d}; the bound has -2 / (d + 5)'
    rate = mean_slope(counts, found)
    rows.append(Row(name, bound, *rate, note='an upper bound', relation='≤'))
    if d < 4:
      late = mean_slope(counts[-4:], found[:, -4:])
      note = 'of the next order in 1 / n'
      rows.append(Row(f'the same over the largest n, d = {d}', -1.0, *late, 0.05, note))
    lines[f'd = {d}'] = found.mean(axis=0), bound
  for d in (1, 2):
    for t in (0.4, 0.1, 0.025):
      predicted = first_order(t, d)
      found = mean([middle(t, d, 4096, generator) for _ in range(600 if full else 60)])
      name = f'n times the error in the middle at t = {t:g}, d = {d}'
      rows.append(Row(name, predicted, *found))
  sketch = Sketch(
    'n',
    'squared error of the score, mean over t',
    {
      name: (counts, line[0] * (counts / counts[0]) ** bound)
      for name, (line, bound) in lines.items()
    },
    {name: (counts, line) for name, (line, _) in lines.items()},
    log='xy',
  )
  return Claim(rows, sketch)
