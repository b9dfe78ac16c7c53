"""A network as what it says of the image in x_t, whatever goes into it and comes out.

Symbols: x_t = a y + s eps with y = x_0 - mean, so that data lie around 0 as the noise does;
sigma_data the deviation of y's pixels. With mean = 0 this is the papers' x_t.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.objectives.base import Image, Key, Label, Params
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.prediction import Prediction

NO_LABEL = -1  # what a conditional network is told where the class is to be unknown


def applied(
  network: nn.Module, params: Params, *seen: jax.Array, key: Key | None = None, **told: jax.Array
) -> Image:
  """What a network gives out; with a key as in training, where it may leave features out."""
  if key is None or not getattr(network, 'dropout', 0.0):
    return network.apply(params, *seen, **told)
  return network.apply(params, *seen, **told, training=True, rngs={'dropout': key})


@dataclass(frozen=True)
class Denoiser:
  """E[y | x_t] by a network.

  Attributes:
    network: (x (H, W, C), t[, label]) -> (H, W, C), t on the path's clock.
    path: of x_t.
    predicted: what the output means.
    deviation: sigma_data.
    mean: of the pixels, one number.
    unit_input: whether the network sees x_t divided by its deviation (Karras et al. 2022, c_in),
      or as it is.
    conditional: whether the network is told the label.
    clip: whether the x_0 that it sees is clipped to [-1, 1], in sampling only.
  """

  network: nn.Module
  path: Path
  predicted: Prediction
  deviation: float = 1.0
  mean: float = 0.0
  unit_input: bool = False
  conditional: bool = False
  clip: bool = False

  def init(self, key: Key, image_shape: tuple[int, int, int]) -> Params:
    """Parameters for images (H, W, C)."""
    label = (jnp.int32(NO_LABEL),) if self.conditional else ()
    return self.network.init(key, jnp.zeros(image_shape), jnp.float32(0), *label)

  def output(
    self, params: Params, x_t: Image, t: jax.Array, label: Label, key: Key | None = None
  ) -> Image:
    """What the network gives out; with a key as in training, where it may drop features."""
    if self.unit_input:
      a, s = self.path.a(t), self.path.s(t)
      x_t = jax.lax.rsqrt((a * self.deviation) ** 2 + s**2) * x_t
    seen = (x_t, self.path.clock(t), *((label,) if self.conditional else ()))
    return applied(self.network, params, *seen, key=key)

  def __call__(self, params: Params, x_t: Image, t: jax.Array, label: Label) -> Image:
    """The y that the network sees in x_t."""
    y = self.predicted.x_0(self.output(params, x_t, t, label), x_t, t)
    return jnp.clip(y, -1.0 - self.mean, 1.0 - self.mean) if self.clip else y
