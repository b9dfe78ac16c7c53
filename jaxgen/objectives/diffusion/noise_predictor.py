"""A network that predicts the noise at the steps of a diffusion (Ho et al. 2020, eq. 11 and 15)."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.objectives.base import Image, Key, Label, Params
from jaxgen.objectives.diffusion import error_table, process
from jaxgen.objectives.diffusion.denoiser import applied
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers.base import Denoise


@dataclass(frozen=True)
class NoisePredictor:
  """eps_theta(x_t, t), and what is needed of it for p_theta(x_{t-1} | x_t).

  Attributes:
    network: (x_t (H, W, C), t) -> (H, W, C), or (H, W, 2 C) where the variance is learned.
    kernel: tables of the T steps.
    variance: of the steps: 'small', 'large', 'learned' or 'analytic'.
    clip: whether the predicted x_0 is clipped to [-1, 1].
  """

  network: nn.Module
  kernel: process.Kernel
  variance: str
  clip: bool

  @property
  def timesteps(self) -> int:
    """T."""
    return len(self.kernel.a) - 1

  @property
  def learned(self) -> bool:
    """Whether the network says v, which makes the variance (Nichol & Dhariwal 2021, eq. 15)."""
    return self.variance == 'learned'

  @property
  def analytic(self) -> bool:
    """Whether the variance is made of the network's errors (Bao et al. 2022)."""
    return self.variance == 'analytic'

  def init(self, key: Key, image_shape: tuple[int, int, int]) -> Params:
    """Parameters for images (H, W, C): the network's, and a table of its errors if need be."""
    network = self.network.init(key, jnp.zeros(image_shape), jnp.int32(1))
    if not self.analytic:
      return network
    return {'network': network, 'errors': error_table.fresh(self.timesteps)}

  def __call__(
    self, params: Params, x_t: Image, t: jax.Array, dropout: Key | None = None
  ) -> tuple[Image, Image]:
    """eps_theta, and v in [-1, 1] or so, which has no channels unless it is learned."""
    own = params['network'] if self.analytic else params
    output, colours = applied(self.network, own, x_t, t, key=dropout), x_t.shape[-1]
    if output.shape[-1] != (channels := colours * (2 if self.learned else 1)):
      raise ValueError(
        f'objective.variance={self.variance!r} needs a network of {channels} output channels, '
        f'where this one has {output.shape[-1]}'
      )
    return output[..., :colours], output[..., colours:]

  def variance_p(
    self,
    params: Params,
    v: Image,
    t: jax.Array,
    least: jax.Array,
    from_x_0: jax.Array,
    log_range: jax.Array,
  ) -> jax.Array:
    """The variance of a step from t, one number or one a pixel.

    Args:
      params: of the model.
      v: what the network says of it.
      t: where the step starts.
      least: the variance; of a learned or an analytic one the least.
      from_x_0: what the step's mean takes of x_0.
      log_range: how much more a learned one is at most.
    """
    if self.learned:
      return process.learned_variance(v, least, log_range)
    if self.analytic:
      error, sigma = error_table.errors(params['errors'])[t], self.kernel.s[t] / self.kernel.a[t]
      return process.analytic_variance(error, least, from_x_0, sigma)
    return least

  def x_0(self, x_t: Image, noise: Image, a: jax.Array, s: jax.Array) -> Image:
    """The image in x_t from which the noise is predicted."""
    x_0 = process.predict_x_0(x_t, noise, a, s)
    return jnp.clip(x_0, -1.0, 1.0) if self.clip else x_0

  def denoiser(self, path: Path, params: Params, label: Label) -> Denoise:
    """x_t, t -> x_0, at times between the steps too, for samplers on the path of the table."""
    del label

    def denoise(x_t: Image, t: jax.Array) -> Image:
      predicted, _ = self(params, x_t, t)
      return self.x_0(x_t, predicted, path.a(t), path.s(t))

    return denoise
