"""A small classifier of the data's own labels, for features and class probabilities.

It learns from all images that are not for testing, so its features see what tells the classes apart
and it never saw a test image. Those of the digits and of MNIST come with jaxgen; they go by the
content of the training and validation images taken together, so that neither a dataset's name nor
the fraction held out for validation decides by what is measured. Others are trained once and kept:
the same images, labels and recipe give the same bits on one kind of machine, whatever the number of
its cores.

Another seed of its training is another yardstick, mostly of another scale: under four classifiers
5,000 MNIST test images with noise of 32 grey levels are at a Fréchet distance of 85 ± 64 (standard
deviation) from the training images, and those without 3 and 7 at 125 ± 26; under five of digits at
20 ± 2 and 63 ± 5 (`python -m tests.metrics.spread`). Numbers of two fingerprints never compare.
"""

import hashlib
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgen.features import Extracted, Features, fingerprint, in_chunks, require_images
from jaxgen.features.classifier_file import Trained, WrongFileError, load, save, shipped
from jaxgen.features.fitting import Recipe, train
from jaxgen.metrics.checks import require_labels

CODE_VERSION = 2  # to be raised with every change to the network or its training
_SMALLEST = 8  # pixels; also the side down to which images are halved

_logger = logging.getLogger(__name__)


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


@partial(jax.jit, static_argnums=0)
def _apply(network: Classifier, params: Any, images: jax.Array) -> Extracted:
  features, logits = network.apply(params, images)
  return Extracted(features, jax.nn.softmax(logits))


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


def _require_sets(
  train_images: np.ndarray,
  train_labels: np.ndarray,
  test_images: np.ndarray,
  test_labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """What a classifier can be trained on and tested with. Raises ValueError if it cannot."""
  classes = int(np.max(train_labels, initial=0)) + 1
  if np.unique(train_labels).size < 2:
    raise ValueError(f'The training labels name {np.unique(train_labels).size} classes; give two')
  train = _require_examples(train_images, train_labels, None, classes, 'training')
  test = _require_examples(test_images, test_labels, train[0].shape[1:], classes, 'test')
  return *train, *test


def in_one_order(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, str]:
  """The rows of labelled images in an order that depends on their content alone, and its hash."""
  hashes = [
    hashlib.sha256(label.tobytes() + image.tobytes()).digest()
    for image, label in zip(images, labels, strict=True)
  ]
  rows = sorted(range(len(hashes)), key=hashes.__getitem__)
  content = b''.join(hashes[row] for row in rows)
  return np.array(rows), fingerprint(shape=images.shape[1:], content=content)


def fit(
  train_images: np.ndarray,
  train_labels: np.ndarray,
  test_images: np.ndarray,
  test_labels: np.ndarray,
  recipe: Recipe = Recipe(),  # noqa: B008  # immutable
) -> Trained:
  """A new classifier of these images; `build` says what they are and raises."""
  train_images, train_labels, test_images, test_labels = _require_sets(
    train_images, train_labels, test_images, test_labels
  )
  rows, training = in_one_order(train_images, train_labels)
  network = Classifier(recipe.dimension, int(train_labels.max()) + 1)
  recipe = recipe.bounded(len(train_images))
  params = train(network, recipe, train_images[rows], train_labels[rows])
  weights = {
    name: np.asarray(array).astype(np.float16).astype(np.float32)
    for name, array in flatten_dict(params, sep='/').items()
  }
  trained = Trained(CODE_VERSION, train_images.shape[1:], training, 0.0, weights)
  right = extractor(trained)(test_images).probabilities.argmax(axis=1) == test_labels
  return trained._replace(accuracy=float(np.mean(right)))


def build(
  train_images: np.ndarray,
  train_labels: np.ndarray,
  test_images: np.ndarray,
  test_labels: np.ndarray,
  *,
  weights: Path | None = None,
  folder: Path | None = None,
  recipe: Recipe = Recipe(),  # noqa: B008  # immutable
) -> Features:
  """Features of a classifier of these images: the one named, shipped, found in `folder`, or new.

  Args:
    train_images: uint8 (N, H, W, C), H and W at least 8: all that are not for testing, in any
      order.
    train_labels: integers (N,) from 0; the largest gives the number of classes.
    test_images: uint8 (M, H, W, C), for the accuracy only.
    test_labels: integers (M,).
    weights: a file that `python -m jaxgen.classifiers` wrote for the same training images; None
      takes the one that comes with jaxgen, if there is one and the recipe is the default.
    folder: where trained classifiers are kept, each under the hash of all the arguments and of the
      code's version; None keeps nothing.
    recipe: how to train.

  Returns:
    Features with probabilities, an accuracy, and as fingerprint the hash of the weights.

  Raises:
    WrongFileError: the file that was named or shipped is damaged, or of other training images.
    ValueError: images or labels of another shape, type or range, fewer than two classes, or all
      images the same.
  """
  sets = _require_sets(train_images, train_labels, test_images, test_labels)
  recipe, usual = recipe.bounded(len(sets[0])), recipe == Recipe()
  shape, training = sets[0].shape[1:], in_one_order(*sets[:2])[1]
  trained, path = None, None
  if weights is not None:
    trained = load(weights)
    _require_fitting(weights, trained, shape, training)
  elif usual:
    trained = shipped(training)
  if trained is None and folder is not None:
    tested = {'test_images': sets[2], 'test_labels': sets[3]}
    key = fingerprint(version=CODE_VERSION, recipe=tuple(recipe), training=training, **tested)
    path = Path(folder) / f'classifier-{key[:16]}.npz'
    trained = _kept(path, shape, training)
  if trained is None:
    announce(len(sets[0]), recipe)
    trained = fit(*sets, recipe)
    if path is not None:
      _keep(path, trained)
  _logger.info('classifier: %.2f %% of the test images right', 100.0 * trained.accuracy)
  return Features(
    name='classifier',
    dimension=_network(trained).dimension,
    fingerprint=trained.fingerprint,
    extract=extractor(trained),
    accuracy=trained.accuracy,
  )


def announce(count: int, recipe: Recipe) -> None:
  """Says that something begins that takes its time, and how to do without it."""
  print(
    f'A classifier of these {count} images, whose features score samples, is trained once, in '
    f'{recipe.steps} steps of {min(count, recipe.batch_size)} images. '
    '--config.evaluation.num_samples=0 (--mode=evaluate) and '
    '--config.evaluation.training_samples=0 (training) do without scores, '
    '--config.evaluation.classifier_weights=FILE takes one that is there.',
    file=sys.stderr,
    flush=True,
  )


def _network(trained: Trained) -> Classifier:
  """The network that these weights are of."""
  return Classifier(*trained.weights['params/Dense_1/kernel'].shape)


def _require_fitting(path: Path, trained: Trained, shape: tuple[int, ...], training: str) -> None:
  """Raises WrongFileError where a file's classifier is not one of these training images."""
  if trained.version != CODE_VERSION:
    raise WrongFileError(
      f'{path} is of version {trained.version} of the classifier, this is version {CODE_VERSION}; '
      'make it again with python -m jaxgen.classifiers'
    )
  if trained.image_shape != shape:
    raise WrongFileError(
      f'{path} takes images of shape {trained.image_shape}, the data have {shape}'
    )
  if trained.training != training:
    raise WrongFileError(
      f"{path} was trained on other images or labels than the data's training and validation "
      'images, and may have seen those that are now for testing; set data as they were for it'
    )


def _kept(path: Path, shape: tuple[int, ...], training: str) -> Trained | None:
  """What was trained before, or None where there is nothing or the file is of no use."""
  if not path.exists():
    return None
  try:
    trained = load(path)
    _require_fitting(path, trained, shape, training)
    return trained
  except WrongFileError as error:
    _logger.warning('%s; it is trained again', error)
    return None


def _keep(path: Path, trained: Trained) -> None:
  try:
    save(path, trained)
  except OSError as error:
    _logger.warning('cannot keep %s: %s', path, error)


def extractor(trained: Trained) -> Callable[[np.ndarray], Extracted]:
  """uint8 images (N, H, W, C) -> features and probabilities."""
  params = jax.tree.map(jnp.asarray, unflatten_dict(trained.weights, sep='/'))
  return partial(_extract, _network(trained), trained.image_shape, params)


def _extract(
  network: Classifier, shape: tuple[int, ...], params: Any, images: np.ndarray
) -> Extracted:
  """Features and probabilities, in chunks that keep memory bounded for any image size."""
  chunk = max(8, min(500, 2**20 // (shape[0] * shape[1])))
  return in_chunks(partial(_apply, network, params), require_images(images, shape), chunk)
