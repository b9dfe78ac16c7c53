"""What a trained model is worth: held-out means, samples and figures, of any parameters."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgen import images
from jaxgen.datasets.splits import Rows, Split, subset
from jaxgen.devices.parallel import LOOK, examples, image_keys, map_images, purpose_key
from jaxgen.errors import UserError
from jaxgen.objectives.base import Example, Image, Key, Metrics, Objective, Params, draw_label
from jaxgen.progress import follow

FIGURE_ROWS = 8  # images that an objective's own figures show
GRID = 100  # samples in a sheet
DIAGNOSED = 1000  # most images that are looked at together

# Purposes of samples: a step that was chosen for its samples must be judged by others.
REPORTED, CHOOSING = 'sample', 'select'

WAY_OUT = (
  'choose another sampler or more of its steps, or train in a new --workdir with a lower '
  'optimizer.learning_rate or with optimizer.clip_norm'
)


class Evaluation:
  """An objective's per-image functions, compiled once, over all devices.

  Randomness comes from the seed, a purpose and the image's index, so that two evaluations of the
  same parameters agree, and sample i is the same whatever the number of samples or devices.

  Attributes:
    see: uint8 image, its row in its split -> how the model sees it, always the same.
    settle: params -> params, see `Objective`.
  """

  def __init__(
    self, objective: Objective, config: ml_collections.ConfigDict, class_counts: tuple[int, ...]
  ) -> None:
    """Of a model that was trained on so many images of each class; () without labels."""
    evaluate_key = purpose_key(config.seed, 'evaluate')
    look = images.reader(config.data.binarize)
    self._seed, self._conditional = config.seed, objective.conditional
    self._class_counts = class_counts

    def see(image: jax.Array, index: jax.Array) -> Image:
      # By no seed of the run, so that what is measured of runs is measured on the same pixels.
      return look(image, jax.random.fold_in(purpose_key(0, LOOK), index))

    def measure(params: Params, image: jax.Array, label: jax.Array, index: jax.Array) -> Metrics:
      example = Example(see(image, index), label, index)
      return objective.evaluate(params, example, jax.random.fold_in(evaluate_key, index))

    def draw(
      model: tuple[Params, Key], label: jax.Array, index: jax.Array
    ) -> tuple[Image, jax.Array]:
      params, key = model
      image = objective.sample(params, label, jax.random.fold_in(key, index))
      return images.to_uint8(image), jnp.isfinite(image).all()  # NaN becomes a black pixel

    self.see = see
    self._measure = map_images(measure, config.evaluation.batch_size)
    self._draw = map_images(draw, config.evaluation.batch_size)
    self._figures = {name: jax.jit(figure) for name, figure in objective.figures.items()}
    self._figure_key = purpose_key(config.seed, 'figures')
    self._diagnose = jax.jit(objective.diagnose) if objective.diagnose else None
    self._diagnose_key = purpose_key(config.seed, 'diagnose')
    settle, settle_key = objective.settle, purpose_key(config.seed, 'settle')
    self.settle = jax.jit(partial(settle, key=settle_key)) if settle else lambda params: params

  def measure(self, params: Params, split: Split, size: int | None = None) -> dict[str, float]:
    """Means of the objective's metrics over a split, or `size` images of it, in float64.

    An image's index is its row in the split, however many are looked at. With its diagnosis of up
    to DIAGNOSED of them, where it has one.

    Raises:
      UserError: a mean is not finite.
    """
    count = len(split.images)
    rows = subset(count, count if size is None else size).astype(np.int32)
    labels = np.full(len(rows), -1) if split.labels is None else split.labels[rows]
    chosen = Rows(split.images, rows), labels.astype(np.int32), rows
    totals: dict[str, float] = {}
    found = self._measure(self.settle(params), *chosen)
    for chunk in follow(found, len(rows), 'held-out means', 'images', examples_in):
      for name, values in chunk.items():
        totals[name] = totals.get(name, 0.0) + float(np.sum(values, dtype=np.float64))
    means = {name: total / len(rows) for name, total in totals.items()}
    means |= self._diagnosis(params, split, rows)
    require_finite(means, 'in evaluation')
    return means

  def _diagnosis(self, params: Params, split: Split, rows: np.ndarray) -> dict[str, float]:
    """What the objective says of some of these images together, {} where it says nothing."""
    if not self._diagnose:
      return {}
    some = self._seen(split, rows[subset(len(rows), DIAGNOSED)])
    found = self._diagnose(jax.device_get(self.settle(params)), some, self._diagnose_key)
    return {name: float(value) for name, value in found.items()}

  def _seen(self, split: Split, rows: np.ndarray) -> Example:
    """These examples as the model sees them."""
    shown = examples(split, rows)
    return shown._replace(image=jax.vmap(self.see)(jnp.asarray(shown.image), shown.row))

  def samples(
    self,
    params: Params,
    count: int,
    seed: int | None = None,
    purpose: str = REPORTED,
    labels: Sequence[int] = (),
  ) -> Iterator[np.ndarray]:
    """Samples 0 ... count - 1 of a seed, the config's by default: chunks of uint8 (n, H, W, C).

    Args:
      params: of the model.
      count: how many.
      seed: of the samples.
      purpose: REPORTED or CHOOSING.
      labels: of a conditional model's samples, again and again in this order; by default each
        label is drawn as often as the training images have it.

    Raises:
      UserError: a label that the data do not have, or samples that are not finite.
    """
    key = purpose_key(self._seed if seed is None else seed, purpose)
    asked = self.sampled_labels(count, seed, purpose, labels)
    done = 0
    for drawn, finite in self._draw((self.settle(params), key), asked, np.arange(count)):
      if not finite.all():
        raise UserError(
          f'{np.sum(~finite)} of the samples {done} to {done + len(drawn) - 1} are not finite, '
          f'the first is sample {done + int(np.argmin(finite))}: {WAY_OUT}'
        )
      yield drawn
      done += len(drawn)

  def sampled_labels(
    self,
    count: int,
    seed: int | None = None,
    purpose: str = REPORTED,
    labels: Sequence[int] = (),
  ) -> np.ndarray:
    """The labels that `samples` of the same arguments are asked for, see `labels`."""
    seed = self._seed if seed is None else seed
    return self.labels(count, purpose_key(seed, f'{purpose} labels'), labels)

  def labels(self, count: int, key: Key, fixed: Sequence[int] = ()) -> np.ndarray:
    """The labels of samples 0 ... count - 1, int32; -1 of a model that takes none.

    Raises:
      UserError: fixed ones for such a model, or one that the data do not have.
    """
    classes = len(self._class_counts)
    if fixed and not self._conditional:
      raise UserError(f'label={",".join(map(str, fixed))}: this model was trained without labels')
    for label in fixed:
      if not 0 <= label < classes:
        raise UserError(f'label={label}: the data have the classes 0 to {classes - 1}')
    if fixed:
      return np.resize(np.asarray(fixed, np.int32), count)
    if not self._conditional:
      return np.full(count, -1, np.int32)
    keys = image_keys(key, jnp.arange(count))
    return np.asarray(jax.vmap(partial(draw_label, self._class_counts))(keys))

  def figures(self, params: Params, split: Split) -> dict[str, np.ndarray]:
    """The objective's own figures of a few images: uint8 (rows, columns, H, W, C) by name.

    Raises:
      UserError: one is not finite.
    """
    # Else every device that holds the parameters would draw all pictures.
    params = jax.device_get(self.settle(params))
    shown = self._seen(split, subset(len(split.images), FIGURE_ROWS))
    drawn = {name: draw(params, shown, self._figure_key) for name, draw in self._figures.items()}
    for name, figure in drawn.items():
      if not jnp.isfinite(figure).all():
        raise UserError(f'the figure {name!r} is not finite: {WAY_OUT}')
    return {name: np.asarray(images.to_uint8(figure)) for name, figure in drawn.items()}


def examples_in(chunk: Any) -> int:
  """How many examples a pytree of arrays (N, ...) is of."""
  return len(jax.tree.leaves(chunk)[0])


def first(chunks: Iterable[np.ndarray], count: int, keep: list[np.ndarray]) -> Iterator[np.ndarray]:
  """Passes chunks on, and puts the first `count` images into `keep`."""
  for chunk in chunks:
    wanted = count - sum(map(len, keep))
    if wanted > 0:
      keep.append(chunk[:wanted])
    yield chunk


def require_finite(metrics: dict[str, Any], where: str) -> None:
  """Raises UserError naming the first metric that is not finite."""
  for name, value in metrics.items():
    if not np.isfinite(value):
      raise UserError(
        f'{name} is {value} {where}: the run has diverged. The last good checkpoint is kept; lower '
        'optimizer.learning_rate or set optimizer.clip_norm, in a new --workdir'
      )
