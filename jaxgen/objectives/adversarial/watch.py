"""What can be seen of a game that has gone wrong, in the means of its metrics.

Symbols: f critic, x real, G(z) fake; the spread of images is the standard deviation of a pixel over
a batch, root mean square over pixels.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.objectives.adversarial.players import Critic, PairLoss
from jaxgen.objectives.base import Image, Key, Metrics

MOMENTS = 'moments'  # of pixels, among the metrics of a loss
APART = 0.999  # share of pairs that a critic tells apart which has won
LITTLE = 1e-3  # of the outputs' gap, which a generator gains that learns nothing any more
NARROW = 0.1  # of the real images' spread, which the fake ones have after a collapse
EARLY = 1000  # updates before which a generator has yet to spread, and is not called collapsed
HUGE = 1e4  # a loss that no game comes to which may still go on


def told_apart(real_output: jax.Array, fake_output: jax.Array) -> jax.Array:
  """1 where f(x) > f(G(z)), 1/2 where they are equal: its mean is the area under the ROC curve."""
  return 0.5 + 0.5 * jnp.sign(real_output - fake_output)


def with_moments(loss: PairLoss) -> PairLoss:
  """A player's loss that also returns first and second moments of every pixel."""

  def seen(f: Critic, real: Image, fake: Image, key: Key, **state: Any) -> tuple[jax.Array, Any]:
    value, metrics = loss(f, real, fake, key, **state)
    pairs = {name: (image, image**2) for name, image in (('real', real), ('fake', fake))}
    return value, metrics | {MOMENTS: pairs}

  return seen


def spreads(moments: dict[str, tuple[jax.Array, jax.Array]]) -> Metrics:
  """Moments of a batch, (H, W, C) each, -> the spread of its real and of its fake images."""
  return {
    f'{name}_spread': jnp.sqrt(jnp.maximum(square - mean**2, 0.0).mean())
    for name, (mean, square) in moments.items()
  }


def warnings(step: int, means: Mapping[str, float]) -> Iterator[str]:
  """What has gone wrong, by the means of a game's metrics; what it has no metric of goes unsaid.

  Args:
    step: updates done.
    means: since the last log; held-out ones, which have no losses of players, tell nothing.
  """
  if 'critic/loss' not in means:
    return
  if max(abs(means[f'{player}/loss']) for player in ('critic', 'generator')) > HUGE:
    yield (
      'Training has diverged: a loss is beyond 10,000. Lower the learning rates, or hold the '
      'critic by a stronger constraint'
    )
  if won(means):
    yield (
      'The critic has won: it tells all real from all fake images, and leaves the generator next '
      'to no gradient. Hold it by a penalty, lower its learning rate or critic_steps, or choose a '
      'loss that does not saturate'
    )
  if step >= EARLY and means['fake_spread'] < NARROW * means['real_spread']:
    yield (
      'Mode collapse: fake images hardly differ from each other, real ones do. Hold the critic by '
      'a penalty, choose another loss, or change the balance of learning rates'
    )


def won(means: Mapping[str, float]) -> bool:
  """Whether a critic tells all images apart, and its generator learns no more from it.

  Were every weight of the generator changed by as much as it is, in the best direction, that would
  gain by its gradient less than LITTLE of what real images have ahead.
  """
  gain = means['generator/gradient_norm'] * means['generator/parameter_norm']
  apart = means.get('critic/told_apart', 0.0) >= APART
  return apart and gain < LITTLE * means['critic/output_gap']
