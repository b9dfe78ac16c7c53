"""Where supports part, JS is flat and W1 is not

Of two laws theta apart whose widths w are small, JS = log 2 whatever theta, while W1 = |theta|
(Arjovsky et al. 2017, example 1). So the generator's gradient through a perfect critic vanishes
with minimax (Arjovsky & Bottou 2017, thm. 2.4), is 1 with W1, and with the non-saturating loss that
of KL - 2 JS (thm. 2.5), theta / w^2 less twice that of JS: strong, but a measure of the critic's
certainty and not of the distance.

Here p = N(0, w^2) and q = N(theta, w^2) with w = 0.05, whose JS is predicted by quadrature, and
whose critics are the best ones, log p / q = (theta^2 - 2 theta x) / 2 w^2 and -x.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import wasserstein_distance

from experiments.theory import value_is_js
from jaxgen.objectives.adversarial.losses import LOSSES
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import mean

WIDTH = 0.05
THETAS = [0.02, 0.05, 0.1, 0.2, 0.3, 1.0]


def jensen_shannon(theta: float) -> float:
  """JS in nats, which is that of laws of unit width theta / w apart."""
  return value_is_js.jensen_shannon(theta / WIDTH)


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
  rows, found, distances = [], [], []
  for theta in THETAS:
    x = WIDTH * generator.normal(size=size) + np.array([[0.0], [theta]])
    loss = LOSSES['jensen_shannon'].critic(*((theta**2 - 2.0 * theta * x) / (2.0 * WIDTH**2)))
    found.append(mean(-0.5 * np.asarray(loss)))
    rows.append(Row(f'JS at theta = {theta:g}, nats', jensen_shannon(theta), *found[-1], 1e-9))
  for theta in THETAS:
    x = WIDTH * generator.normal(size=size) + np.array([[0.0], [theta]])
    parts = np.split(x, 20, axis=1)
    distances.append(mean([wasserstein_distance(*part) for part in parts]))
    rows.append(
      Row(f'W1 at theta = {theta:g}, of {size[1] // 20} samples of each', theta, *distances[-1])
    )
  for theta in (0.05, 0.3):
    # V = 2 JS - 2 log 2, and at the best critic its own change counts nothing.
    flat = 2.0 * slope(theta)
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
    {'JS': (THETAS, [js.value for js in found]), 'W1': (THETAS, [w1.value for w1 in distances])},
    log='x',
  )
  return Claim(rows, sketch)
