"""What a trained denoiser is good for beside samples: filling in, redrawing, codes of noise.

Symbols: y an image less the mean of pixels, x_t = a y + s eps; a step goes down from t to u.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.base import Image, Key, Label, Params
from jaxgen.objectives.diffusion.denoiser import NO_LABEL
from jaxgen.objectives.diffusion.inversion import invert
from jaxgen.objectives.diffusion.samplers import Descent, ancestral, heun
from jaxgen.objectives.diffusion.samplers.base import Denoise, State, levels


def order(steps: int, jump: int, repeats: int) -> np.ndarray:
  """Which step comes when: so many in a row, so often, and on (Lugmayr et al. 2022, sec. 4.2)."""
  stretches = np.split(np.arange(steps), range(jump, steps, jump))
  return np.concatenate([np.tile(stretch, repeats) for stretch in stretches])


def inpaint(
  denoise: Denoise, descent: Descent, y: Image, known: Image, repeats: int, jump: int, key: Key
) -> Image:
  """Draws what is not known of an image, given the rest (Lugmayr et al. 2022 RePaint, alg. 1).

  By ancestral steps at the sampler's times, before each of which the known pixels are put in with
  the noise of that time. This alone, with repeats = 1, is replacement (Song et al. 2021, app. I.2),
  and biased, as that noise is drawn whatever the unknown pixels are. So noise is added again, and
  the same steps are taken anew, from unknown pixels that have seen the known ones.

  Args:
    denoise: x_t, t -> y.
    descent: whose times are visited, whatever its sampler.
    y: the image, (H, W, C), of which only the known pixels matter.
    known: True where they are, (H, W, C).
    repeats: how often each step is taken, RePaint's r.
    jump: how many steps are taken before noise is added again, its j.
    key: of all noise.
  """
  path, times = descent.path, descent.times
  which = order(len(times) - 1, jump, repeats)
  before = levels(path, times[np.append(0, which[:-1] + 1)])  # where the last step has ended
  now = levels(path, times[which])
  kept = now.a / before.a
  added = np.sqrt(np.maximum(now.s**2 - (kept * before.s) ** 2, 0.0))
  steps = descent._replace(sampler=ancestral.sampler()).rows
  rows = [jnp.asarray(row, jnp.float32) for row in (kept, added, now.a, now.s)]

  def normal(key: Key, purpose: int) -> Image:
    return jax.random.normal(jax.random.fold_in(key, purpose), y.shape)

  def step(x: Image, here: Any) -> tuple[Image, None]:
    i, (kept, added, a, s), row = here
    here = jax.random.fold_in(key, i)
    x = kept * x + added * normal(here, 0)
    x = jnp.where(known, a * y + s * normal(here, 1), x)
    return ancestral.sampler().step(denoise, State(x, x), row, jax.random.fold_in(here, 2)).x, None

  start, end = (jax.random.fold_in(key, len(which) + i) for i in range(2))
  x = descent.from_noise(jax.random.normal(start, y.shape))
  inputs = jnp.arange(len(which)), rows, jax.tree.map(lambda row: row[which], steps)
  x, _ = jax.lax.scan(step, x, inputs)
  last = levels(path, times[-1])
  x = jnp.where(known, float(last.a) * y + float(last.s) * jax.random.normal(end, y.shape), x)
  return jnp.where(known, y, denoise(x, jnp.float32(last.t)))


def redraw(denoise: Denoise, descent: Descent, y: Image, strength: float, key: Key) -> Image:
  """Adds noise to an image and takes it away again (Meng et al. 2022 SDEdit, alg. 1).

  Args:
    denoise: x_t, t -> y.
    descent: the sampler on its grid.
    y: the image, (H, W, C).
    strength: the part of the sampler's steps, the last ones, that is taken; at least one is.
    key: of all noise.
  """
  rest = descent._replace(times=descent.times[-max(1, round(strength * descent.steps)) :])
  first, way = jax.random.split(key)
  x = float(rest.path.a(rest.times[0])) * y + rest.from_noise(jax.random.normal(first, y.shape))
  return rest.run(denoise, x, way)[-1]


def abilities(
  denoiser: Callable[[Params, Label], Denoise],
  descent: Descent,
  mean: float = 0.0,
  conditional: bool = False,
) -> dict[str, Callable[..., Any]]:
  """What an `Objective` with such a denoiser can do with given images.

  Args:
    denoiser: params, label -> what denoises.
    descent: the sampler on its grid.
    mean: of the pixels, which `denoise` is not shown.
    conditional: whether noise is no code of an image, as it takes a label too.

  Returns:
    `inpaint` and `edit`; and `encode` and `decode`, which follow the probability flow up and down
    by Heun's method, whatever the sampler.
  """
  flow = descent._replace(sampler=heun.sampler())

  def inpainted(
    params: Params, image: Image, known: Image, label: Label, repeats: int, jump: int, key: Key
  ) -> Image:
    denoise = denoiser(params, label)
    return mean + inpaint(denoise, descent, image - mean, known, repeats, jump, key)

  def edit(params: Params, image: Image, label: Label, strength: float, key: Key) -> Image:
    return mean + redraw(denoiser(params, label), descent, image - mean, strength, key)

  def encode(params: Params, image: Image, key: Key) -> jax.Array:
    del key
    return invert(denoiser(params, jnp.int32(NO_LABEL)), descent.path, descent.times, image - mean)

  def decode(params: Params, latent: jax.Array, key: Key) -> Image:
    denoise = denoiser(params, jnp.int32(NO_LABEL))
    return mean + flow.run(denoise, flow.from_noise(latent), key)[-1]

  codes = {} if conditional else {'encode': encode, 'decode': decode}
  return {'inpaint': inpainted, 'edit': edit} | codes
