"""The noise from which the probability flow comes to an image (Song et al. 2021 DDIM, sec. 5.4)."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.base import Image
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise


def invert(denoise: Denoise, path: Path, times: np.ndarray, y: Image) -> Image:
  """Follows the flow up: d(x / a) / d sigma = (x / a - x_0) / sigma, by Heun's method.

  Args:
    denoise: x_t, t -> x_0.
    path: of x_t.
    times: falling, as a sampler visits them, (N,); the image stands at the last, with its noise.
    y: the image, less its mean, (H, W, C).

  Returns:
    x at the first time over its deviation there: noise N(0, I), if y is of the data.
  """
  times = times[::-1]
  rows = [jnp.asarray(row, y.dtype) for row in (times, path.a(times), path.sigma(times))]
  ends = [[row[:-1] for row in rows], [row[1:] for row in rows]]

  def slope(z: Image, t: jax.Array, a: jax.Array, sigma: jax.Array) -> Image:
    return (z - denoise(a * z, t)) / sigma

  def rise(z: Image, row: list[list[jax.Array]]) -> tuple[Image, None]:
    now, then = row
    h = then[2] - now[2]
    first = slope(z, *now)
    return z + 0.5 * h * (first + slope(z + h * first, *then)), None

  z, _ = jax.lax.scan(rise, y, ends)
  return z / rows[2][-1]
