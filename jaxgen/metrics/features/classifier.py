"""A small classifier trained in place, for features and class probabilities without a download.

It learns the data's own training labels, so its features see what tells the classes apart. The same
images, labels, recipe and machine give the same weights; they are trained once and kept.
"""

import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgen.metrics import cache
from jaxgen.metrics.checks import require_labels
from jaxgen.metrics.features import Extracted, Features, fingerprint, in_chunks, require_images

CODE_VERSION = 1  # to be raised with every change to the network or its training
_SMALLEST = 8  # pixels; also the side down to which images are halved

_logger = logging.getLogger(__name__)


class Recipe(NamedTuple):
  """How the classifier is trained; part of the name under which it is kept."""

  dimension: int = 64
  steps: int = 1200
  batch_size: int = 128
  learning_rate: float = 0.004
  seed: int = 0


class Classifier(nn.Module):
  """Strided convolutions, a layer of features, a layer of logits.

  No batch norm: the vector of an image depends on no other image. The features are taken before
  their ReLU, which would leave some of them zero for every image and the covariance singular.
  """

  dimension: int
  classes: int

  @nn.compact
  def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """uint8 (N, H, W, C) -> features (N, dimension), logits (N, classes)."""
    x = images.astype(jnp.float32) / 127.5 - 1.0
    x = nn.relu(nn.Conv(32, (5, 5), strides=2)(x))
    while max(x.shape[1:3]) > _SMALLEST:
      x = nn.relu(nn.Conv(64, (3, 3), strides=2)(x))
    x = nn.relu(nn.Conv(128, (3, 3))(x))
    features = nn.Dense(self.dimension)(x.reshape(len(x), -1))
    return features, nn.Dense(self.classes)(nn.relu(features))


def _shift(image: jax.Array, key: jax.Array) -> jax.Array:
  """Moves an image (H, W, C) by up to a sixteenth of its side, repeating its edge."""
  reach = max(1, min(image.shape[:2]) // 16)
  padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode='edge')
  row, column = jax.random.randint(key, (2,), 0, 2 * reach + 1)
  return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


_adam = optax.scale_by_adam()


@partial(jax.jit, static_argnums=0)
def _step(
  network: Classifier,
  params: Any,
  state: optax.OptState,
  images: jax.Array,
  labels: jax.Array,
  key: jax.Array,
  rate: jax.Array,
) -> tuple[Any, optax.OptState, jax.Array]:
  """One step of Adam on the cross-entropy (nats) of shifted images."""
  images = jax.vmap(_shift)(images, jax.random.split(key, len(images)))

  def loss(params: Any) -> jax.Array:
    _, logits = network.apply(params, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

  value, gradient = jax.value_and_grad(loss)(params)
  updates, state = _adam.update(gradient, state)
  return jax.tree.map(lambda p, u: p - rate * u, params, updates), state, value


def _train(network: Classifier, recipe: Recipe, images: np.ndarray, labels: np.ndarray) -> Any:
  """Parameters after Adam under a one-cycle learning rate, epoch after shuffled epoch."""
  initial_key, shift_key = jax.random.split(jax.random.key(recipe.seed))
  schedule = optax.cosine_onecycle_schedule(recipe.steps, recipe.learning_rate, pct_start=0.2)
  rates = np.asarray(jax.vmap(schedule)(jnp.arange(recipe.steps)))
  params = jax.jit(network.init)(initial_key, images[:1])
  state = _adam.init(params)
  generator = np.random.default_rng(recipe.seed)
  size = min(recipe.batch_size, len(images))
  queue = np.empty(0, np.int64)
  began = time.monotonic()
  for number, rate in enumerate(rates):
    if len(queue) < size:
      queue = generator.permutation(len(images))
    chosen, queue = queue[:size], queue[size:]
    key = jax.random.fold_in(shift_key, number)
    params, state, loss = _step(network, params, state, images[chosen], labels[chosen], key, rate)
    if (number + 1) % 200 == 0:
      left = (time.monotonic() - began) / (number + 1) * (recipe.steps - number - 1)
      line = f'classifier for features: step {number + 1} of {recipe.steps}  loss {loss:.4f}'
      print(f'{line}  ETA {left // 60:.0f}:{left % 60:02.0f}', file=sys.stderr, flush=True)
  return params


@partial(jax.jit, static_argnums=0)
def _apply(network: Classifier, params: Any, images: jax.Array) -> Extracted:
  features, logits = network.apply(params, images)
  return Extracted(features, jax.nn.softmax(logits))


class Trained(NamedTuple):
  """Parameters, and their accuracy on the test images."""

  params: Any
  accuracy: float


def _load(path: Path, key: str, like: Any) -> Trained | None:
  """What is kept under this key, or None where there is nothing or the file is damaged."""
  kept, wanted = cache.load(path), flatten_dict(like, sep='/')
  if kept is None:
    return None
  kinds = {name: (array.shape, array.dtype) for name, array in kept.items()}
  agrees = all(kinds.get(name) == (part.shape, part.dtype) for name, part in wanted.items())
  if not agrees or str(kept.get('key')) != key or kinds.get('accuracy', (None,))[0] != ():
    _logger.warning('%s is of another classifier; this one is trained again', path)
    return None
  params = unflatten_dict({name: kept[name] for name in wanted}, sep='/')
  return Trained(params, float(kept['accuracy']))


def _save(path: Path, key: str, trained: Trained) -> None:
  weights = jax.tree.map(np.asarray, flatten_dict(trained.params, sep='/'))
  cache.save(path, key=key, accuracy=trained.accuracy, **weights)


def _require_examples(
  images: np.ndarray, labels: np.ndarray, shape: tuple[int, ...] | None, classes: int, whose: str
) -> tuple[np.ndarray, np.ndarray]:
  """Images with a label each; of the training set `shape` is None. Raises ValueError if not."""
  images = require_images(images, shape)
  labels = require_labels(labels, len(images), classes, whose)
  if min(images.shape[1:3]) < _SMALLEST:
    raise ValueError(
      f'The images have shape {images.shape[1:]}; the classifier needs at least {_SMALLEST} pixels '
      'a side: enlarge them, or take the pixels features'
    )
  if np.array_equal(images, np.broadcast_to(images[:1], images.shape)):
    raise ValueError(f'All {len(images)} {whose} images are the same; check how they were loaded')
  return images, labels


def build(
  train_images: np.ndarray,
  train_labels: np.ndarray,
  test_images: np.ndarray,
  test_labels: np.ndarray,
  *,
  folder: Path | None = None,
  recipe: Recipe = Recipe(),  # noqa: B008  # immutable
) -> Features:
  """Features of a classifier trained on these images, or found in `folder`.

  Args:
    train_images: uint8 (N, H, W, C), H and W at least 8.
    train_labels: integers (N,) from 0; the largest gives the number of classes.
    test_images: uint8 (M, H, W, C), for the accuracy only.
    test_labels: integers (M,).
    folder: where trained classifiers are kept, each under the hash of all the arguments and of the
      code's version; None keeps nothing.
    recipe: how to train.

  Returns:
    Features with probabilities, an accuracy, and as fingerprint the hash of the weights.

  Raises:
    ValueError: images or labels of another shape, type or range, fewer than two classes, or all
      images the same.
  """
  classes = int(np.max(train_labels, initial=0)) + 1
  if np.unique(train_labels).size < 2:
    raise ValueError(f'The training labels name {np.unique(train_labels).size} classes; give two')
  train = _require_examples(train_images, train_labels, None, classes, 'training')
  image_shape = train[0].shape[1:]
  test = _require_examples(test_images, test_labels, image_shape, classes, 'test')
  network = Classifier(recipe.dimension, classes)
  key = fingerprint(
    version=CODE_VERSION, recipe=tuple(recipe), images=train[0], labels=train[1],
    test_images=test[0], test_labels=test[1],
  )  # fmt: skip
  path = Path(folder) / f'classifier-{key[:16]}.npz' if folder is not None else None
  like = jax.eval_shape(network.init, jax.random.key(0), train[0][:1])
  extract = partial(_extract, network, image_shape)
  trained = _load(path, key, like) if path else None
  if trained is None:
    params = _train(network, recipe, *train)
    right = extract(params, test[0]).probabilities.argmax(axis=1) == test[1]
    trained = Trained(params, float(np.mean(right)))
    if path:
      _save(path, key, trained)
  _logger.info('classifier: %.2f %% of the test images right', 100.0 * trained.accuracy)
  weights = jax.tree.map(np.asarray, flatten_dict(trained.params, sep='/'))
  return Features(
    name='classifier',
    dimension=network.dimension,
    fingerprint=fingerprint(image_shape=image_shape, **weights),
    extract=partial(extract, trained.params),
    accuracy=trained.accuracy,
  )


def _extract(
  network: Classifier, shape: tuple[int, ...], params: Any, images: np.ndarray
) -> Extracted:
  """Features and probabilities, in chunks that keep memory bounded for any image size."""
  chunk = max(8, min(500, 2**20 // (shape[0] * shape[1])))
  return in_chunks(partial(_apply, network, params), require_images(images, shape), chunk)
