"""The score is learned at a rate of the data's own dimension

Theorem 1 of Chen et al. 2023: for data on a subspace of dimension d in R^D the squared error of an
estimated score, averaged over t from t_0 to T, is with high probability at most of order (1 / t_0)
(n^(-2 / (d + 5)) + D n^(-(d + 3) / (d + 5))) log^3 n in the number n of images. It bounds from
above, up to an unknown constant, what the best of a class of ReLU networks reaches on laws with
Lipschitz scores; so a measurement can contradict its exponents in one direction only: an error that
fell more slowly in n than n^(-2 / (d + 5)), or grew faster than 1 / t_0.

Measured: another estimator, the exact score of the n images noised (what a network that memorises
learns), on A z, D = 8, every coordinate of z a mixture of two Gaussians, whose score is known. At a
fixed t_0 this is a smoothing at a fixed scale, whose error falls as 1 / n in the end, faster than
the bound; as a mean of images it never leaves the subspace, and its orthogonal part is exact
whatever D. Its error at a time t goes as h^(-1 - d / 2) / n, which adds up to t_0^(-d / 2): beyond
d = 2 that is more than 1 / t_0, so that no memorising score can reach the theorem's rate at small
t_0. Lines of the plot have the bound's slopes. Slopes are over a range of n, with standard errors
over repetitions.
"""

import numpy as np
from numpy.polynomial.legendre import leggauss

from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean_slope
from jaxgen.theory.mixtures import Mixture

PART = Mixture(np.array([0.5, 0.5]), np.array([[-1.0], [1.0]]), np.array([0.5, 0.5]))
FIRST, LAST, AMBIENT, POINTS = 0.1, 5.0, 8, 300


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


def errors(
  dimension: int, counts: np.ndarray, generator: np.random.Generator, first: float = FIRST
) -> np.ndarray:
  """The integrated squared error of the score of the first n of some images, for each n, (N, 2).

  Beside it that of its part orthogonal to the subspace.
  """
  axes = np.linalg.qr(generator.normal(size=(AMBIENT, dimension)))[0]
  images = PART.draw(counts.max() * dimension, generator).reshape(-1, dimension) @ axes.T
  nodes, weights = leggauss(6)
  log_t = np.log(first) + 0.5 * (nodes + 1.0) * np.log(LAST / first)
  weights = 0.5 * weights * np.log(LAST / first) * np.exp(log_t) / (LAST - first)
  found = np.zeros((len(counts), 2))
  for t, weight in zip(np.exp(log_t), weights, strict=True):
    alpha, h = np.exp(-0.5 * t), -np.expm1(-t)
    z = PART.draw(POINTS * dimension, generator).reshape(POINTS, dimension)
    x = alpha * z @ axes.T + np.sqrt(h) * generator.normal(size=(POINTS, AMBIENT))
    inside = x @ axes
    truth = true_score(inside, alpha, h) @ axes.T - (x - inside @ axes.T) / h
    for place, count in enumerate(counts):
      missed = empirical_score(x, images[:count], alpha, h) - truth
      outside = missed - missed @ axes @ axes.T
      found[place] += weight * np.sum([missed**2, outside**2], axis=(1, 2)) / POINTS
  return found


def claim(full: bool) -> Claim:
  generator, limit = np.random.default_rng(0), 'an upper bound'
  counts = 2 ** np.arange(6, 14 if full else 11)
  repetitions, rows, lines = 24 if full else 6, [], {}
  for d in (1, 2, 4):
    found = np.array([errors(d, counts, generator) for _ in range(repetitions)])
    bound = -2.0 / (d + 5)
    rate = mean_slope(counts, found[..., 0])
    name = f'slope of the error in n, d = {d}; the bound has -2 / (d + 5)'
    rows.append(Row(name, bound, *rate, note=limit, relation='≤'))
    if d < 4:
      late = mean_slope(counts[-4:], found[:, -4:, 0])
      note = 'of the next order in 1 / n'
      rows.append(Row(f'the same over the largest n, d = {d}', -1.0, *late, 0.05, note))
    name = f'error orthogonal to the subspace, d = {d}, D = {AMBIENT}'
    rows.append(Row(name, 0.0, found[..., 1].max(), 0.0, 1e-20))
    lines[f'd = {d}'] = found[..., 0].mean(axis=0), bound
  firsts, count = np.array([0.2, 0.1, 0.05, 0.025]), np.array([4096 if full else 1024])
  for d in (1, 2):
    found = [
      [errors(d, count, generator, first)[0, 0] for first in firsts] for _ in range(repetitions)
    ]
    rate = mean_slope(firsts, found)
    note = 'of leading order in t_0, and tails of the law add a logarithm'
    rows.append(Row(f'slope of the error in t_0, d = {d}: -d / 2', -0.5 * d, *rate, 0.2, note))
    if d == 1:
      rows.append(Row('the same; the bound has -1', -1.0, *rate, note=limit, relation='≥'))
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
