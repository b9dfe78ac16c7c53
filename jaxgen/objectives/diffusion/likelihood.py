"""The likelihood of an image by the probability flow (Song et al. 2021, app. D.2).

Symbols: z = x_t / a, tau = log sigma; along the flow dz / d tau = z - D(z), with D the x_0 that is
seen, and d log p(z) / d tau = -div(z - D) = tr dD/dz - d. The trace is v' (dD/dz) v on average over
signs v (Hutchinson). At the end of the way z is N(0, sigma^2 I).
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.base import Image, Key
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise

BIN = 2.0 / 255.0  # between the grey levels of pixels in [-1, 1]
LEAST, MOST = 0.01, 80.0  # noise at the ends of the way, where the path has as much


def log_density(
  denoise: Denoise, path: Path, z: Image, key: Key, steps: int, least: float, most: float
) -> jax.Array:
  """log p of z = y + least eps, in nats: by Heun's method with one draw of signs for all steps.

  Args:
    denoise: x_t, t -> x_0.
    path: of x_t.
    z: where, (H, W, C).
    key: of the signs.
    steps: even ones of log sigma, two network evaluations and their derivatives each.
    least: sigma at the start of the way, whose density it is.
    most: at its end.
  """
  signs = jax.random.rademacher(key, z.shape, z.dtype)
  sigma = np.geomspace(least, most, steps + 1)
  t = path.time(sigma)
  rows = [jnp.asarray(row, z.dtype) for row in (t[:-1], path.a(t[:-1]), t[1:], path.a(t[1:]))]
  h = float(np.log(most / least)) / steps

  def slope(z: Image, t: jax.Array, a: jax.Array) -> tuple[Image, jax.Array]:
    """dz / d tau and its divergence."""
    seen, change = jax.jvp(lambda z: denoise(a * z, t), (z,), (signs,))
    return z - seen, z.size - jnp.vdot(signs, change)

  def step(carry: tuple[Image, jax.Array], row: list[jax.Array]) -> tuple[tuple, None]:
    z, gained = carry
    first, spread = slope(z, *row[:2])
    second, wider = slope(z + h * first, *row[2:])
    return (z + 0.5 * h * (first + second), gained + 0.5 * h * (spread + wider)), None

  (end, gained), _ = jax.lax.scan(step, (z, jnp.zeros((), z.dtype)), rows)
  last = -0.5 * jnp.sum(end**2) / most**2 - z.size * jnp.log(most * jnp.sqrt(2.0 * jnp.pi))
  return last + gained


def bits_per_dimension(denoise: Denoise, path: Path, y: Image, key: Key, steps: int) -> jax.Array:
  """An upper bound on the bits of an image of 256 levels a pixel, noised by LEAST.

  Each level is spread over its bin (Theis et al. 2016, sec. 3.1), so that the density of the spread
  image times the bin's width bounds its probability from below; on average over draws.

  Args:
    denoise: x_t, t -> y.
    path: of x_t.
    y: the image, less its mean, (H, W, C).
    key: of the spread and the signs.
    steps: of the flow.
  """
  spread, signs = jax.random.split(key)
  z = y + BIN * (jax.random.uniform(spread, y.shape) - 0.5)
  most = min(MOST, float(path.sigma(np.array(path.last)))) if np.isfinite(path.last) else MOST
  nats = log_density(denoise, path, z, signs, steps, LEAST, most) + y.size * jnp.log(BIN)
  return -nats / (y.size * jnp.log(2.0))
