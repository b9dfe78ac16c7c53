"""PixelCNN: an image's probability, pixel by pixel (van den Oord et al. 2016).

Symbols: x_1 ... x_n the pixels in reading order, the colours of one after each other; y the label.
p(x) = prod_i p(x_i | x_1 ... x_{i-1}) (eq. 1), of which each factor is a probability of levels of
grey. So that of an image is known, and those of all images sum to one.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import build_network
from jaxgen.objectives import base, optimizers
from jaxgen.objectives.base import Example, Image, Key, Label, Memory, Metrics, Objective, Params
from jaxgen.objectives.levels import Levels, find_levels, log_categorical, over_classes

COMPLETIONS = 6  # of each image in the figure


class Pixels(NamedTuple):
  """A network that says how probable each level of a pixel is, given the pixels before.

  Attributes:
    network: a `PixelCNN` from (H, W C, 1 + C), whose rows have colours side by side, and beside the
      levels a one for which colour it is, to logits (H, W C, levels).
    image_shape: (H, W, C).
    levels: that pixels have.
  """

  network: nn.Module
  image_shape: tuple[int, int, int]
  levels: Levels

  def seen(self, image: Image) -> jax.Array:
    """What the network sees of an image: (H, W C, 1 + C)."""
    height, width, colours = self.image_shape
    marks = jnp.tile(jnp.eye(colours), (height, width, 1))  # which also tell where the image ends
    rounded = self.levels.grey(self.levels.index(image))
    return jnp.concatenate([rounded.reshape(height, -1, 1), marks], axis=-1)

  def log_probability(self, params: Params, image: Image, label: Label) -> jax.Array:
    """log p(x | y) in nats."""
    logits = self.network.apply(params, self.seen(image), label)
    return log_categorical(self.levels.index(image).reshape(logits.shape[:2]), logits)

  def complete(self, params: Params, image: Image, label: Label, key: Key, kept: int) -> Image:
    """The first rows of an image as they are, and the other pixels drawn one after the other."""
    height, columns = self.image_shape[0], self.image_shape[1] * self.image_shape[2]

    def draw_row(x: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
      above = self.network.apply(params, x, label, method='above')
      above = jax.lax.dynamic_slice_in_dim(above, i, 1)

      def draw_pixel(row: jax.Array, j: jax.Array) -> tuple[jax.Array, None]:
        logits = self.network.apply(params, row, above, method='along')[0, j]
        index = jax.random.categorical(jax.random.fold_in(key, i * columns + j), logits)
        return row.at[0, j, 0].set(self.levels.grey(index)), None

      row = jax.lax.dynamic_slice_in_dim(x, i, 1)
      row, _ = jax.lax.scan(draw_pixel, row, jnp.arange(columns))
      return jax.lax.dynamic_update_slice_in_dim(x, row, i, axis=0), None

    x, _ = jax.lax.scan(draw_row, self.seen(image), jnp.arange(kept, height))
    return x[..., 0].reshape(self.image_shape)


def pixelcnn(
  pixels: Pixels,
  optimizer: optax.GradientTransformation,
  class_counts: tuple[int, ...] = (),
) -> Objective:
  """Pixels, each by those before.

  Args:
    pixels: how probable they are.
    optimizer: of the network.
    class_counts: training images of each class, for a model of images given their label; () for one
      that does without.
  """
  levels, dimension = pixels.levels, math.prod(pixels.image_shape)
  blank = jnp.zeros(pixels.image_shape)

  def init(key: Key) -> tuple[Params, Memory]:
    params = pixels.network.init(key, pixels.seen(blank), jnp.int32(0))
    return params, optimizer.init(params)

  def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
    del key
    nats = pixels.log_probability(params, example.image, example.label)
    given = 'given_label_' if class_counts else ''
    return -nats / dimension, levels.held_out(nats, dimension, given)

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    del key
    if not class_counts:
      return levels.held_out(
        pixels.log_probability(params, example.image, example.label), dimension
      )
    of_label = jax.vmap(lambda y: pixels.log_probability(params, example.image, y))
    nats, classes = over_classes(of_label(jnp.arange(len(class_counts))), class_counts)
    accuracy = jnp.float32(jnp.argmax(classes) == example.label)
    return levels.held_out(nats, dimension) | {'accuracy': accuracy}

  def sample(params: Params, label: Label, key: Key) -> Image:
    return pixels.complete(params, blank, label, key, kept=0)

  def completions(params: Params, examples: Example, key: Key) -> jax.Array:
    """Each row: an image, and what may stand below its upper half."""
    keys = jax.random.split(key, (len(examples.image), COMPLETIONS))
    draw = jax.vmap(pixels.complete, in_axes=(None, None, None, 0, None))
    drawn = jax.vmap(draw, in_axes=(None, 0, 0, 0, None))(
      params, examples.image, examples.label, keys, pixels.image_shape[0] // 2
    )
    return jnp.concatenate([examples.image[:, None], drawn], axis=1)

  return Objective(
    *(init, base.descent(loss, optimizer), evaluate, sample),
    figures={'completions': completions},
    networks={'network': pixels.network},
    conditional=bool(class_counts),
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes.

  Raises:
    ValueError: levels that do not fit the data, or labels wanted of data that have none.
  """
  levels = find_levels(config.objective.levels, config.data.binarize)
  classes = facts.classes if config.objective.conditional else 0
  network = build_network(config, 'Predictor', levels.count, classes=classes)
  return pixelcnn(
    Pixels(network, facts.image_shape, levels),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.class_counts if classes else (),
  )
