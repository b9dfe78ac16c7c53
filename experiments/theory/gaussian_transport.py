"""The Fréchet distance is the 2-Wasserstein distance of Gaussians

W2^2(N(m, S), N(m', S')) = |m - m'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2) (Dowson & Landau 1982),
and of any two laws with these moments W2^2 is at least that (Gelbrich 1990). Predicted by matrix
square roots; measured by optimal assignment of samples. Two sets of n samples of one law are
themselves some way apart, n^(-2/d) and worse, so that the distance of two laws comes out too large:
half of each law's distance from itself is taken off, which leaves a smaller bias; and from each
assignment the project's `frechet_distance` of the samples' own moments, most of whose noise is the
same. That is held against the formula on given moments too.
"""

import numpy as np
import scipy.linalg
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from jaxgen.metrics.frechet import Moments, frechet_distance, moments
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean

MEANS = np.array([[0.0, 0.0], [1.0, -0.5]])
ROOTS = np.array([[[1.0, 0.0], [0.5, 0.8]], [[0.6, 0.0], [-0.7, 1.2]]])


def formula(m: np.ndarray, S: np.ndarray) -> float:
  """W2^2 of two Gaussians, m (2, d) and S (2, d, d)."""
  root = scipy.linalg.sqrtm(S[0])
  both = scipy.linalg.sqrtm(root @ S[1] @ root).real
  return float(np.sum((m[0] - m[1]) ** 2) + np.trace(S[0] + S[1] - 2.0 * both))


def transport(x: np.ndarray, y: np.ndarray) -> float:
  """W2^2 of two sets of n samples."""
  cost = cdist(x, y, 'sqeuclidean')
  return float(cost[linear_sum_assignment(cost)].mean())


def given(m: np.ndarray, S: np.ndarray) -> float:
  """The project's distance of these moments."""
  count = 10_000
  return frechet_distance(*(Moments(count, *pair) for pair in zip(m, (count - 1) * S, strict=True)))


def of_samples(x: np.ndarray, y: np.ndarray) -> float:
  """The project's distance of two sets of n samples, by moments over n as `transport` has them."""
  n = len(x)
  return frechet_distance(
    *(Moments(n, m.mean, m.second * (n - 1) / n) for m in (moments(x), moments(y)))
  )


def claim(full: bool) -> Claim:
  covariances = ROOTS @ ROOTS.swapaxes(1, 2)
  known = formula(MEANS, covariances)
  rows = [
    Row('frechet_distance of given moments, d = 2', known, given(MEANS, covariances), 0.0, 1e-12)
  ]
  generator = np.random.default_rng(0)
  wide = generator.normal(size=(2, 30, 30)) / np.sqrt(30)
  wide, places = wide @ wide.swapaxes(1, 2), generator.normal(size=(2, 30))
  rows.append(Row('the same, d = 30', formula(places, wide), given(places, wide), 0.0, 1e-10))
  repetitions, sizes = (30, [125, 500, 1000]) if full else (12, [100, 400])
  lines = {'samples': [], 'without their own distance': []}
  for n in sizes:
    raw, own, beyond = [], [], []
    for _ in range(repetitions):
      x, x_too, y, y_too = (
        MEANS[i][None] + generator.normal(size=(n, 2)) @ ROOTS[i].T for i in (0, 0, 1, 1)
      )
      pairs = ((x, y), (x, x_too), (y, y_too))
      found = [(transport(*pair), of_samples(*pair)) for pair in pairs]
      beyond.append(found[0][0] - found[0][1])
      raw.append(known + beyond[-1])
      own.append(raw[-1] - 0.5 * sum(w2 - frechet for w2, frechet in found[1:]))
    rows.append(
      Row(f'least W2^2 - frechet_distance of the samples, n = {n}', 0.0, min(beyond), relation='≥')
    )
    note = 'what bias is left, of the order of n^(-2/d)'
    rows.append(
      Row(f'W2^2 of {n} samples, less half of their own', known, *mean(own), 2.0 / n, note)
    )
    lines['samples'].append(np.mean(raw))
    lines['without their own distance'].append(np.mean(own))
  sketch = Sketch(
    'n',
    'W2^2',
    {'Gaussians': (sizes, [known] * len(sizes))},
    {name: (sizes, line) for name, line in lines.items()},
    log='x',
  )
  return Claim(rows, sketch)
