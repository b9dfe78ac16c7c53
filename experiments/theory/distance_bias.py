"""The Fréchet distance is biased in N, the kernel distance is not

Of two sets of N samples of one Gaussian with eigenvalues l_i of its covariance, E d^2 = (2 sum_i
l_i + sum_ij l_i l_j (1 + delta_ij) / (l_i + l_j)) / N + O(N^-2): the first term is of the means,
the second is E sum_ij D_ij^2 / 2 (l_i + l_j) of the covariances' difference D, by expanding the
trace to second order around equal ones. It grows with the square of the dimension, and never
vanishes (Bińkowski et al. 2018, sec. 4). The kernel distance is an unbiased estimate for any N
(Gretton et al. 2012, lemma 6): 0 of equal laws, and of N(0, I) and N(m, S) the sum of <E x^k - E
y^k> over tensors with the weights of (u + 1)^3.
"""

import numpy as np

from jaxgen.metrics.frechet import frechet_distance, moments
from jaxgen.metrics.kernel import squared_mmd
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import Estimate, mean, slope

D = 8
L = np.geomspace(2.0, 0.2, D)
SHIFT, SCALE = np.full(D, 0.3), 1.2  # of the other law, N(SHIFT, SCALE^2 I)


def leading(count: float) -> float:
  """The bias to first order in 1 / N."""
  pairs = np.outer(L, L) * (1.0 + np.eye(D)) / (L[:, None] + L[None])
  return float(2.0 * L.sum() + pairs.sum()) / count


def frechet(count: int, repetitions: int, generator: np.random.Generator) -> Estimate:
  """The mean distance of two sets of one law."""
  draws = generator.normal(size=(repetitions, 2, count, D)) * np.sqrt(L)
  return mean([frechet_distance(*map(moments, pair)) for pair in draws])


def kernel(count: int, repetitions: int, generator: np.random.Generator, same: bool) -> Estimate:
  """The mean squared MMD of two sets of one law, or of two laws."""
  first, second = generator.normal(size=(2, repetitions, count, D))
  second = second if same else SHIFT + SCALE * second
  return mean([squared_mmd(x, y) for x, y in zip(first, second, strict=True)])


def tensors(m: np.ndarray, variance: float) -> list[np.ndarray]:
  """E x, E x x, E x x x of N(m, variance I)."""
  eye = variance * np.eye(D)
  crossed = sum(np.einsum(f'i,jk->{order}', m, eye) for order in ('ijk', 'jik', 'kji'))
  return [m, np.outer(m, m) + eye, np.einsum('i,j,k->ijk', m, m, m) + crossed]


def known_mmd() -> float:
  """E k(x, x') + E k(y, y') - 2 E k(x, y), k = (x.y / d + 1)^3 = sum_k binom(3, k) (x.y / d)^k."""
  apart = [a - b for a, b in zip(tensors(np.zeros(D), 1.0), tensors(SHIFT, SCALE**2), strict=True)]
  return float(
    sum(b * np.sum(t**2) / D**k for k, (b, t) in enumerate(zip((3, 3, 1), apart, strict=True), 1))
  )


def claim(full: bool) -> Claim:
  generator, rows = np.random.default_rng(0), []
  repetitions = 2_000 if full else 200
  counts, found = [100, 300, 1000, 3000] if full else [100, 300, 1000], []
  for n in counts:
    found.append(frechet(n, repetitions if n < 2000 else repetitions // 2, generator))
    rows.append(
      Row(
        f'Fréchet distance of two sets of {n} of one law',
        leading(n),
        *found[-1],
        leading(n) * 0.5 * D / n,
        'of the next order, D / N of it',
      )
    )
  note = 'the next order bends it'
  rate = slope(counts, [f.value for f in found], [f.error for f in found])
  rows.append(Row('its slope in N', -1.0, *rate, 0.01, note))
  kernels = {True: [], False: []}
  for n in (10, 100):
    for same, name in ((True, 'of one law'), (False, 'of two laws')):
      known = 0.0 if same else known_mmd()
      kernels[same].append(
        kernel(n, 20 * repetitions if n == 10 else 2 * repetitions, generator, same)
      )
      rows.append(Row(f'kernel distance of two sets of {n} {name}', known, *kernels[same][-1]))
  line = np.geomspace(80, 3500, 20)
  sketch = Sketch(
    'N',
    'Fréchet distance of one law from itself',
    {'first order': (line, [leading(n) for n in line])},
    {'first order': (counts, [f.value for f in found])},
    log='xy',
  )
  return Claim(rows, sketch)
