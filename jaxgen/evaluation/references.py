"""Images as features see them; the data's own are looked at once, and kept."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen.datasets import splits
from jaxgen.errors import UserError
from jaxgen.evaluation.protocol import VERSION
from jaxgen.features import Features, cache, classifier, inception, pixels
from jaxgen.progress import follow

CHUNK = 1000  # images looked at together
NO_LABELS = 'the dataset has no labels'


class Seen(NamedTuple):
  """Images as features see them."""

  features: np.ndarray  # float32 (N, d)
  probabilities: np.ndarray | None  # float32 (N, K)
  fingerprint: str  # hash of the pixels


class Reference(NamedTuple):
  """A split of the data as features see it, and its labels."""

  seen: Seen
  labels: np.ndarray | None


def labelled(dataset: splits.Dataset) -> tuple[np.ndarray, ...] | None:
  """Images and labels that a classifier may learn from, and those of the test split.

  Training and validation images are taken together, so that the fraction held out for validation
  changes no number. None where the training or the test images have no labels.
  """
  known = [split for split in dataset[:2] if split.labels is not None]
  if dataset.train.labels is None or dataset.test.labels is None:
    return None
  parts = zip(*((s.images[np.arange(len(s.images))], s.labels) for s in known), strict=True)
  test = dataset.test
  return *map(np.concatenate, parts), test.images[np.arange(len(test.images))], test.labels


def kinds(
  dataset: splits.Dataset, inception_weights: str = '', classifier_weights: str = ''
) -> tuple[list[Features], str]:
  """The features that a dataset allows: its classifier's, or else pixels; inception's if asked.

  A classifier comes with jaxgen, is named, or is trained once and kept in the cache.

  Args:
    dataset: its training labels teach the classifier.
    inception_weights: a file, or '' for none.
    classifier_weights: a file that `python -m jaxgen.classifiers` wrote for these data, or '' for
      the one that comes with jaxgen or is trained.

  Returns:
    The features, and why pixels stand in for the classifier, '' where they do not.

  Raises:
    UserError: the weights cannot be used.
  """
  chosen, reason = [pixels.build(dataset.image_shape)], NO_LABELS
  named = Path(classifier_weights).expanduser() if classifier_weights else None
  if (sets := labelled(dataset)) is not None:
    try:
      chosen, reason = [classifier.build(*sets, weights=named, folder=cache.folder())], ''
    except classifier.WrongFileError as error:
      raise UserError(
        f'{"config.evaluation.classifier_weights: " if named else ""}{error}'
      ) from error
    except ValueError as error:
      reason = str(error)
  if named and reason:
    raise UserError(f'config.evaluation.classifier_weights={classifier_weights}: {reason}')
  if inception_weights:
    try:
      chosen.append(inception.build(Path(inception_weights).expanduser()))
    except ValueError as error:
      raise UserError(f'config.evaluation.inception_weights: {error}') from error
  return chosen, reason


def about(kinds: Sequence[Features]) -> list[dict[str, Any]]:
  """What the features were, for JSON."""
  fields = ('name', 'dimension', 'fingerprint', 'accuracy')
  return [{field: getattr(features, field) for field in fields} for features in kinds]


def look(chunks: Iterable[np.ndarray], kinds: Sequence[Features]) -> list[Seen]:
  """Streams images once through every kind of features; only the features are kept.

  Raises:
    ValueError: the images are of another shape or type, or there are none.
  """
  parts: list[list[Any]] = [[] for _ in kinds]
  digest = hashlib.sha256()
  for chunk in chunks:
    digest.update(chunk.tobytes())
    for part, features in zip(parts, kinds, strict=True):
      part.append(features.extract(chunk))
  if not all(parts):
    raise ValueError('There are no images to evaluate')
  return [
    Seen(
      np.concatenate([extracted.features for extracted in part]),
      None
      if part[0].probabilities is None
      else np.concatenate([extracted.probabilities for extracted in part]),
      digest.hexdigest(),
    )
    for part in parts
  ]


def references(
  dataset: splits.Dataset,
  features: Features,
  splits: Sequence[str] = ('test', 'train'),
  folder: Path | None = None,
) -> dict[str, Reference]:
  """Splits of the data as features see them, in this order.

  Args:
    dataset: the data.
    features: what looks at them.
    splits: which ones: 'test', 'train', 'validation'.
    folder: where what was seen is kept, under the hash of the images and the features; None keeps
      nothing.
  """
  found = {}
  for name in splits:
    images, labels, _ = getattr(dataset, name)
    path = None
    if folder is not None:
      digest = hashlib.sha256(f'{features.fingerprint} v{VERSION}'.encode())
      for chunk in in_order(images):
        digest.update(np.ascontiguousarray(chunk).data)
      path = folder / f'{features.name}-of-{digest.hexdigest()[:32]}.npz'
    kept = cache.load(path) if path is not None else None
    if kept is not None and kept.keys() >= {'features', 'fingerprint'}:
      seen = Seen(kept['features'], kept.get('probabilities'), str(kept['fingerprint']))
    else:
      what = f'{features.name} features of the {name} images'
      seen = look(follow(in_order(images), len(images), what, 'images'), [features])[0]
      if path is not None:
        cache.save(path, **{k: part for k, part in seen._asdict().items() if part is not None})
    found[name] = Reference(seen, labels)
  return found


def in_order(images: splits.Images) -> Iterator[np.ndarray]:
  """All images of a split, in chunks."""
  for start in range(0, len(images), CHUNK):
    yield images[np.arange(start, min(start + CHUNK, len(images)))]
