"""Against the best critic, V is twice the Jensen-Shannon divergence minus 2 log 2

V(G, D*) = 2 JS(p || q) - 2 log 2 in nats (Goodfellow et al. 2014, eq. 6), and no other critic has
more. Predicted by quadrature of JS between N(0, 1) and N(theta, 1); measured on samples, with the
logit log p / q = theta^2 / 2 - theta x.
"""

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from jaxgen.objectives.adversarial.losses import value
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import Estimate, mean


def jensen_shannon(theta: float) -> float:
  """JS(N(0, 1) || N(theta, 1)) in nats."""

  def integrand(x: float) -> float:
    p, q = norm.logpdf(x), norm.logpdf(x, theta)
    middle = np.logaddexp(p, q) - np.log(2.0)
    return 0.5 * (np.exp(p) * (p - middle) + np.exp(q) * (q - middle))

  return quad(integrand, -12.0, 12.0 + theta, points=[0.0, theta], limit=200)[0]


def measured(theta: float, scale: float, draws: np.ndarray) -> Estimate:
  """V of `scale` times the best logit, on pairs of samples (2, N)."""
  logits = scale * (0.5 * theta**2 - theta * (draws + np.array([[0.0], [theta]])))
  return mean(value(*logits))


def claim(full: bool) -> Claim:
  generator, size = np.random.default_rng(0), (2, 1_000_000 if full else 100_000)
  thetas = [0.0, 0.5, 1.0, 2.0, 4.0]
  known = [2.0 * jensen_shannon(theta) - 2.0 * np.log(2.0) for theta in thetas]
  found = [measured(theta, 1.0, generator.normal(size=size)) for theta in thetas]
  rows = [
    Row(f'V at theta = {theta:g}, nats', best, *here, tolerance=1e-9)
    for theta, best, here in zip(thetas, known, found, strict=True)
  ]
  for scale in (0.5, 1.5):
    here = measured(1.0, scale, generator.normal(size=size))
    rows.append(Row(f'V at theta = 1 of {scale} log p / q', known[2], *here, relation='≤'))
  line = np.linspace(0.0, 5.0, 41)
  sketch = Sketch(
    'theta',
    'V, nats',
    {'2 JS - 2 log 2': (line, [2 * jensen_shannon(t) - 2 * np.log(2) for t in line])},
    {'2 JS - 2 log 2': (thetas, [f.value for f in found])},
  )
  return Claim(rows, sketch)
