"""Where supports part, JS is flat and W1 is not

Of two laws theta apart whose widths w are small, JS = log 2 whatever theta, while W1 = |theta|
(Arjovsky et al. 2017, example 1). So the generator's gradient through a perfect critic vanishes
with minimax, is 1 with W1, and with the non-saturating loss nearly theta / w^2: strong, but a
measure of the critic's certainty and not of the distance (Arjovsky & Bottou 2017, thm. 2.4 and
2.6).

Here p = N(0, w^2) and q = N(theta, w^2) with w = 0.05, whose JS is predicted by quadrature, and
whose critics are the best ones, log p / q = (theta^2 - 2 theta x) / 2 w^2 and -x.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad
from scipy.stats import norm, wasserstein_distance

from jaxgen.objectives.adversarial.losses import LOSSES
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean

WIDTH = 0.05
THETAS = [0.02, 0.05, 0.1, 0.2, 0.3, 1.0]


def jensen_shannon(theta: float) -> float:
  """JS in nats: log 2 - E_p log(1 + q / p), as both laws are each other's mirror image."""
  shift = theta / WIDTH

  def integrand(x: float) -> float:
    return norm.pdf(x) * np.logaddexp(0.0, shift * x - 0.5 * shift**2)

  middle = [0.5 * shift] if shift < 20.0 else []
  return np.log(2.0) - quad(integrand, -10.0, 10.0, points=middle, limit=200)[0]


def slope(theta: float) -> float:
  """dJS / dtheta, by central differences of the quadrature."""
  h = 1e-4
  return (jensen_shannon(theta + h) - jensen_shannon(theta - h)) / (2.0 * h)


def gradients(loss: str, theta: float, noise: np.ndarray) -> jax.Array:
  """d loss / d theta of each generated x = theta + w noise, through a critic that is held fixed."""

  def critic(x: jax.Array) -> jax.Array:
    return -x if loss == 'wasserstein' else (theta**2 - 2.0 * theta * x) / (2.0 * WIDTH**2)

  def of_one(shift: jax.Array, e: jax.Array) -> jax.Array:
    return LOSSES[loss].generator(jnp.zeros_like(shift), critic(shift + WIDTH * e))

  return jax.vmap(jax.grad(of_one), (None, 0))(jnp.float64(theta), noise)


def claim(full: bool) -> Claim:
  generator, size = np.random.default_rng(0), (2, 400_000 if full else 40_000)
  rows, found = [], []
  for theta in THETAS:
    x = WIDTH * generator.normal(size=size) + np.array([[0.0], [theta]])
    loss = LOSSES['jensen_shannon'].critic(*((theta**2 - 2.0 * theta * x) / (2.0 * WIDTH**2)))
    found.append(mean(-0.5 * np.asarray(loss)))
    rows.append(Row(f'JS at theta = {theta:g}, nats', jensen_shannon(theta), *found[-1], 1e-9))
  for theta in THETAS:
    x = WIDTH * generator.normal(size=size) + np.array([[0.0], [theta]])
    parts = np.split(x, 20, axis=1)
    w1 = mean([wasserstein_distance(*part) for part in parts])
    rows.append(
      Row(
        f'W1 at theta = {theta:g}, of {size[1] // 20} samples of each',
        theta,
        *w1,
        tolerance=WIDTH / np.sqrt(size[1] // 20),
        note='that of samples is a little too large where theta < w' if theta < WIDTH else '',
      )
    )
  for theta in (0.05, 0.3):
    flat = 2.0 * slope(
      theta
    )  # V = 2 JS - 2 log 2, and at the best critic its own change counts nothing
    known = {'minimax': flat, 'non_saturating': theta / WIDTH**2 - flat, 'wasserstein': 1.0}
    for loss, predicted in known.items():
      gradient = mean(np.asarray(gradients(loss, theta, generator.normal(size=size[1]))))
      name = f"d/dtheta of the generator's loss at theta = {theta:g}, {loss}"
      rows.append(Row(name, predicted, *gradient, 1e-5))
  line = np.geomspace(0.01, 1.0, 60)
  sketch = Sketch(
    'theta',
    'divergence',
    {'JS': (line, [jensen_shannon(t) for t in line]), 'W1': (line, line)},
    {'JS': (THETAS, [f.value for f in found]), 'W1': (THETAS, [r.measured for r in rows[6:12]])},
    log='x',
  )
  return Claim(rows, sketch)
