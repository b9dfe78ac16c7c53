"""Classifier-free guidance (Ho & Salimans 2022), between two levels of noise."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.base import Image, Label, Params
from jaxgen.objectives.diffusion.denoiser import NO_LABEL, Denoiser
from jaxgen.objectives.diffusion.samplers.base import Denoise


class Guidance(NamedTuple):
  """D = D_unlabelled + scale (D_labelled - D_unlabelled), or D_labelled outside of some noise.

  Attributes:
    scale: 1 for none, 0 to leave the label out.
    low: the noise above which it guides (Kynkaanniemi et al. 2024).
    high: the most noise at which it does, 0 for any.
  """

  scale: float = 1.0
  low: float = 0.0
  high: float = 0.0

  @property
  def evaluations(self) -> int:
    """Of the network for one denoised image."""
    return 1 if self.scale in (0.0, 1.0) else 2

  def check(self, label_dropout: float) -> None:
    """Refuses numbers that cannot be, and guidance of a model that always saw its label.

    Args:
      label_dropout: how often the label was left out in training.

    Raises:
      ValueError: with the reason.
    """
    if self.scale < 0.0 or self.low < 0.0 or 0.0 < self.high <= self.low or self.high < 0.0:
      raise ValueError(
        f'sampler.guidance={self.scale}, sampler.guidance_min={self.low} and '
        f'sampler.guidance_max={self.high} must not be negative, and the two rise or the last be 0'
      )
    if self.scale != 1.0 and not label_dropout:
      raise ValueError(
        f'sampler.guidance={self.scale} needs a model that was trained without its label at times, '
        'as experiments/guided.py is: objective.label_dropout=0 means that this one never was'
      )
    if self.evaluations == 1 and (self.low or self.high):
      raise ValueError(
        f'sampler.guidance_min={self.low} and sampler.guidance_max={self.high} have no effect '
        f'with sampler.guidance={self.scale:g}: set them to 0'
      )

  def of(self, denoiser: Denoiser, params: Params, label: Label) -> Denoise:
    """The denoiser that a sampler follows to images of this class."""

    def guided(x_t: Image, t: jnp.ndarray) -> Image:
      labelled = denoiser(params, x_t, t, label)
      unlabelled = denoiser(params, x_t, t, jnp.int32(NO_LABEL))
      sigma = denoiser.path.sigma(t)
      inside = (self.low < sigma) & (sigma <= (self.high or np.inf))
      return unlabelled + jnp.where(inside, self.scale, 1.0) * (labelled - unlabelled)

    if self.scale == 0.0:
      label = jnp.int32(NO_LABEL)
    return guided if self.evaluations == 2 else lambda x_t, t: denoiser(params, x_t, t, label)
