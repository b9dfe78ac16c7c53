"""Random translations of all that a critic sees, real and fake alike (Zhao et al. 2020).

A critic that sees few images learns them by heart; it cannot where each comes elsewhere every time.
The generator's images are moved too, before the critic and inside the generator's own loss, so that
only unmoved images, moved, look like real ones, moved: nothing leaks into samples.
"""

import jax
import jax.numpy as jnp

from jaxgen.objectives.adversarial.players import Critic, PairLoss
from jaxgen.objectives.base import Image, Key, Metrics


def translate(image: Image, shift: jax.Array) -> Image:
  """The image (H, W, C) moved down and right by whole pixels (2,); its edges are repeated.

  By matrix products, whose gradients are as fast.
  """

  def picks(size: int, moved: jax.Array) -> jax.Array:
    return jax.nn.one_hot(jnp.clip(jnp.arange(size) - moved, 0, size - 1), size)

  rows, columns = (picks(size, moved) for size, moved in zip(image.shape, shift, strict=False))
  return jnp.einsum('ih,jw,hwc->ijc', rows, columns, image, precision='highest')


def draw_shift(translation: int, probability: float, key: Key) -> jax.Array:
  """A shift (2,), each entry equally likely in -translation ... translation; or else none."""
  moved_key, shift_key = jax.random.split(key)
  shift = jax.random.randint(shift_key, (2,), -translation, translation + 1)
  return jnp.where(jax.random.bernoulli(moved_key, probability), shift, 0)


def translated(loss: PairLoss, translation: int, probability: float) -> PairLoss:
  """A player's loss of both images, each moved by a draw of its own.

  A penalty's slope is that at the moved images.
  """

  def moved(f: Critic, real: Image, fake: Image, key: Key) -> tuple[jax.Array, Metrics]:
    key, *keys = jax.random.split(key, 3)
    real, fake = (
      translate(image, draw_shift(translation, probability, draw))
      for image, draw in zip((real, fake), keys, strict=True)
    )
    return loss(f, real, fake, key)

  return moved


def check_translation(
  translation: int, probability: float, image_shape: tuple[int, int, int]
) -> None:
  """Refuses translations that leave nothing of an image, and what has no effect.

  Raises:
    ValueError: with the reason.
  """
  least = min(image_shape[:2])
  if not 0 <= translation < least:
    raise ValueError(
      f'objective.translation={translation} must lie in 0 ... {least - 1} pixels, or nothing is '
      'left of an image'
    )
  if not 0.0 < probability <= 1.0:
    raise ValueError(f'objective.augmentation={probability} must lie in (0, 1]')
  if not translation and probability != 1.0:
    raise ValueError(
      f'objective.augmentation={probability} has no effect with objective.translation=0: set the '
      'pixels that images are moved by, or leave it at 1.0'
    )
