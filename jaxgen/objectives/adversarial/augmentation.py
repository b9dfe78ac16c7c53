"""Random translations of all that a critic sees, real and fake alike (Zhao et al. 2020).

A critic that sees few images learns them by heart; it cannot where each comes elsewhere every time.
The generator's images are moved too, before the critic and inside the generator's own loss, so that
only unmoved images, moved, look like real ones, moved: nothing leaks into samples.

How often images are moved may follow how sure the critic is of real ones (Karras et al. 2020).
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxgen.objectives.adversarial.game import State
from jaxgen.objectives.adversarial.players import Critic, PairLoss
from jaxgen.objectives.base import Image, Key, Metrics

TARGET = 0.6  # E sign(f(x)) of a critic that has begun to know its real images by heart
RAMP = 500_000  # images in which p goes from 0 to 1
SIGNED = (  # losses whose best critic is above 0 where real images are denser than fake ones
  *('minimax', 'non_saturating', 'hinge', 'reverse_kullback_leibler', 'pearson', 'jensen_shannon'),
)


def translate(image: Image, shift: jax.Array) -> Image:
  """The image (H, W, C) moved down and right by whole pixels (2,); its edges are repeated.

  By matrix products, whose gradients are as fast.
  """

  def picks(size: int, moved: jax.Array) -> jax.Array:
    return jax.nn.one_hot(jnp.clip(jnp.arange(size) - moved, 0, size - 1), size)

  rows, columns = (picks(size, moved) for size, moved in zip(image.shape, shift, strict=False))
  return jnp.einsum('ih,jw,hwc->ijc', rows, columns, image, precision='highest')


def draw_shift(translation: int, probability: float | jax.Array, key: Key) -> jax.Array:
  """A shift (2,), each entry equally likely in -translation ... translation; or else none."""
  moved_key, shift_key = jax.random.split(key)
  shift = jax.random.randint(shift_key, (2,), -translation, translation + 1)
  return jnp.where(jax.random.bernoulli(moved_key, probability), shift, 0)


def translated(loss: PairLoss, translation: int, probability: float) -> PairLoss:
  """A player's loss of both images, each moved by a draw of its own.

  A penalty's slope is that at the moved images. Where a game remembers a state, that is the
  probability, and no other.
  """

  def moved(
    f: Critic, real: Image, fake: Image, key: Key, state: jax.Array | None = None
  ) -> tuple[jax.Array, Metrics]:
    key, *keys = jax.random.split(key, 3)
    chance = probability if state is None else state
    real, fake = (
      translate(image, draw_shift(translation, chance, draw))
      for image, draw in zip((real, fake), keys, strict=True)
    )
    value, metrics = loss(f, real, fake, key)
    if state is not None and 'real_output' in metrics:
      metrics |= {'real_sign': jnp.sign(metrics['real_output'])}
    return value, metrics

  return moved


def adapt(
  probability: jax.Array, metrics: Metrics, images: int, most: float
) -> tuple[jax.Array, Metrics]:
  """p <- p + sign(E sign(f(x)) - 0.6) images / 500,000, within [0, most] (Karras et al., sec. 3.1).

  Args:
    probability: p.
    metrics: of the update.
    images: real images that the critic saw in it.
    most: that p may come to.

  Returns:
    The new p, and it as a metric.
  """
  change = jnp.sign(metrics['critic/real_sign'] - TARGET) * images / RAMP
  probability = jnp.clip(probability + change, 0.0, most)
  return probability, {'augmentation': probability}


def adaptive(images: int, most: float) -> State:
  """A game's memory of p, which begins at 0; held-out images are not moved."""
  return State(jnp.float32(0.0), partial(adapt, images=images, most=most))


def check_translation(
  translation: int,
  probability: float,
  adapts: bool,
  loss: str,
  image_shape: tuple[int, int, int],
) -> None:
  """Refuses translations that leave nothing of an image, and what has no effect.

  Args:
    translation: pixels.
    probability: with which images are moved, or the most that it may come to.
    adapts: whether it follows the critic.
    loss: its name.
    image_shape: (H, W, C).

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
  if not translation and (adapts or probability != 1.0):
    field = 'adaptive=True' if adapts else f'augmentation={probability}'
    raise ValueError(
      f'objective.{field} has no effect with objective.translation=0: set the pixels that images '
      'are moved by, or leave it as it was'
    )
  if adapts and loss not in SIGNED:
    raise ValueError(
      f'objective.adaptive=True looks at the sign of f(x), which says nothing with loss={loss!r}: '
      f'choose one of {", ".join(SIGNED)}'
    )
