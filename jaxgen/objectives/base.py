"""What a generative model is here: functions of one example, and the verbs that train them."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.layers.normalisation import BATCH_AXES

Key = jax.Array  # a typed PRNG key
Keys = jax.Array  # (N,) typed PRNG keys, one an example
Image = jax.Array  # (H, W, C) float32 in [-1, 1]
Images = jax.Array  # (N, H, W, C) float32 in [-1, 1]
Label = jax.Array  # int32 (), a class; -1 for none
Params = Any  # a pytree of float32 arrays: all that sampling and evaluation need
Memory = Any  # a pytree of arrays: all that only the next update needs
Metrics = dict[str, jax.Array]  # scalars by name, units in the names

EXAMPLES, DEVICES = (
  BATCH_AXES  # the names of the mapped axes: of a device's examples, and of devices
)


class Example(NamedTuple):
  """One image of the data, with what is known of it; or a batch of them, as arrays (N, ...).

  Attributes:
    image: float32 (H, W, C) in [-1, 1].
    label: int32 (), its class; -1 where the data have none.
    row: int32 (), its place in its split.
  """

  image: Image
  label: Label
  row: jax.Array


class Joint(NamedTuple):
  """p(x, z) = p(x|z) N(z; 0, I) of an image x and its latent z, and what is known of z given x.

  Attributes:
    measure: what p(x|z) is one of, as the names of numbers say it.
    log_likelihood: params, image, latent -> log p(x|z) in nats.
    draw: params, latent, key -> an image drawn from p(x|z).
    posterior: params, image, key -> a function that draws from q(z|x): key -> latent, log q(z|x).
      None where the model has no q.
  """

  measure: str
  log_likelihood: Callable[[Params, Image, jax.Array], jax.Array]
  draw: Callable[[Params, jax.Array, Key], Image]
  posterior: Callable[[Params, Image, Key], Callable[[Key], tuple[jax.Array, jax.Array]]] | None


class Objective(NamedTuple):
  """A generative model, written for ONE example.

  Attributes:
    init: key -> params, memory.
    update: params, memory, examples (N,), keys (N,), step -> params, memory, metrics: one iteration
      of the paper's algorithm, which consumes the whole batch. Runs once on every device, on this
      device's share of the batch.
    evaluate: params, example, key -> metrics of one held-out example; their mean is reported.
    sample: params, label, key -> image; an unconditional model ignores the label.
    encode: params, image, key -> latent, where the model has codes.
    decode: params, latent, key -> image.
    figures: name -> (params, examples (N,), key) -> pictures (rows, columns, H, W, C): what else of
      this model is worth looking at in TensorBoard.
    diagnose: params, examples (N,), key -> metrics of many held-out examples at once, which are
      no means over examples.
    settle: params, key -> params as all of the above but `init` and `update` want them, made once
      for many images: say, with standing statistics of a batch normalisation.
    inpaint: params, image, known (H, W, C), label, repeats, jump, key -> image, of which what is
      not known is drawn anew; repeats and jump are whole numbers of Python.
    edit: params, image, label, strength, key -> image, drawn anew from what noise leaves of this
      one; strength is a number of Python in (0, 1].
    networks: the Flax modules by their names.
    averaged: which of the params the moving average smooths, True or False for each part of a
      prefix of their tree; the others are taken as they are.
    conditional: whether `sample` looks at its label.
    warn: updates done, means of the metrics of `update` since the last log or of held-out images
      -> sentences on what has gone wrong; each is said once in a run.
    prior: params, noise N(0, I) -> the latent that a sample is decoded from; None where it is the
      noise itself.
    of_noise: whether it is either: not of codes with a law of their own, as those of a VQ-VAE.
    joint: of images and latents N(0, I), where the model states the likelihood of an image.
  """

  init: Callable[[Key], tuple[Params, Memory]]
  update: Callable[[Params, Memory, Example, Keys, jax.Array], tuple[Params, Memory, Metrics]]
  evaluate: Callable[[Params, Example, Key], Metrics]
  sample: Callable[[Params, Label, Key], Image]
  encode: Callable[[Params, Image, Key], jax.Array] | None = None
  decode: Callable[[Params, jax.Array, Key], Image] | None = None
  figures: Mapping[str, Callable[[Params, Example, Key], jax.Array]] = MappingProxyType({})
  diagnose: Callable[[Params, Example, Key], Metrics] | None = None
  settle: Callable[[Params, Key], Params] | None = None
  inpaint: Callable[[Params, Image, jax.Array, Label, int, int, Key], Image] | None = None
  edit: Callable[[Params, Image, Label, float, Key], Image] | None = None
  networks: Mapping[str, nn.Module] = MappingProxyType({})
  averaged: Any = True
  conditional: bool = False
  warn: Callable[[int, Mapping[str, float]], Iterable[str]] = lambda step, means: ()
  prior: Callable[[Params, jax.Array], jax.Array] | None = None
  of_noise: bool = True
  joint: Joint | None = None


def descend(
  loss: Callable[..., tuple[jax.Array, Metrics]],
  optimizer: optax.GradientTransformation,
  params: Params,
  opt_state: Any,
  *batch: Any,
) -> tuple[Params, Any, Metrics]:
  """One step of stochastic gradient descent on the mean of `loss` over the whole batch.

  What must see the whole batch, as a batch normalisation does, averages or gathers over the axes
  EXAMPLES and DEVICES; everything else stays a function of one example.

  Args:
    loss: (params, *example) -> scalar, metrics; for ONE example of the batch. Its metrics may be
      arrays, such as new batch statistics.
    optimizer: the optax chain that turns gradients into updates.
    params: what `loss` is differentiated in.
    opt_state: the optimizer's state.
    *batch: pytrees whose leading axis is this device's share of the batch.

  Returns:
    New params and opt_state, equal on every device, and the means of the loss's metrics with
    `loss`, `gradient_norm` and `parameter_norm` (Euclidean, of the updated parameters).
  """

  def mean_loss(params: Params, *examples: Any) -> tuple[jax.Array, Metrics]:
    losses, metrics = over_examples(partial(loss, params))(*examples)
    return losses.mean(), means(metrics | {'loss': losses})

  gradient_of = partial(jax.grad(mean_loss, has_aux=True), params)
  gradient, metrics = REDUCTIONS[reducing.value](gradient_of, batch)
  updates, opt_state = optimizer.update(gradient, opt_state, params)
  params = optax.apply_updates(params, updates)
  norms = {
    'gradient_norm': optax.tree.norm(gradient),
    'parameter_norm': optax.tree.norm(params),
  }
  return params, opt_state, metrics | norms


def descent(
  loss: Callable[[Params, Example, Key], tuple[jax.Array, Metrics]],
  optimizer: optax.GradientTransformation,
) -> Callable[[Params, Memory, Example, Keys, jax.Array], tuple[Params, Memory, Metrics]]:
  """The `update` of a model that descends on one loss and remembers its optimizer's state alone."""

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    del step
    return descend(loss, optimizer, params, memory, examples, keys)

  return update


def average(function: Callable[..., Any], *batch: Any) -> Any:
  """The mean of a function of ONE example over the whole batch, on all devices.

  For algorithms that do not `descend`: it averages as the run does, in order where that is asked.

  Args:
    function: *example -> a pytree of arrays.
    *batch: pytrees whose leading axis is this device's share of the batch.

  Returns:
    The means, equal on every device.
  """
  return REDUCTIONS[reducing.value](lambda *shares: means(over_examples(function)(*shares)), batch)


def gather(batch: Any) -> Any:
  """The whole batch on every device, each example at its place in it: (N / D, ...) -> (N, ...).

  For memories with an entry for every image, which must be equal on every device.
  """

  def collect(share: jax.Array) -> jax.Array:
    dealt = jax.lax.all_gather(share, DEVICES, axis=1)  # example i went to device i mod D
    return dealt.reshape(-1, *share.shape[1:])

  return jax.tree.map(collect, batch)


def each(function: Callable[..., Any], *batch: Any) -> Any:
  """The values of a function of ONE example for every example of this device's share of the batch.

  For what is not averaged, such as a posterior of each image; in an ordered reduction the bits do
  not depend on how large the share is.
  """
  if parts() == 1:
    return jax.vmap(function)(*batch)
  _, found = jax.lax.scan(lambda _, p: (None, jax.vmap(function)(*p)), None, cut(batch, parts()))
  return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1).reshape(-1, *a.shape[2:]), found)


def over_examples(function: Callable[..., Any]) -> Callable[..., Any]:
  """`vmap`, under the name that batch statistics are taken over.

  Where a share is computed in parts, nothing can see the whole batch.
  """
  return jax.vmap(function, axis_name=EXAMPLES if parts() == 1 else None)


def parts() -> int:
  """In how many parts, one after another, a device computes its share of the batch."""
  if reducing.value == 'ordered':
    return BLOCKS // jax.lax.axis_size(DEVICES)
  return accumulating.value


def means(values: Any) -> Any:
  """Of each array (N, ...), the mean over its leading axis."""
  return jax.tree.map(lambda array: array.mean(axis=0), values)


def mean_reduction(mean_of: Callable[..., Any], batch: tuple[Any, ...]) -> Any:
  """The mean over devices of each device's mean: fast; equal for any device count to rounding."""
  found = mean_of(*batch) if parts() == 1 else accumulated(mean_of, batch)
  return found if jax.lax.axis_size(DEVICES) == 1 else jax.lax.pmean(found, DEVICES)


def accumulated(mean_of: Callable[..., Any], batch: tuple[Any, ...]) -> Any:
  """The mean over this device's share, of which one part at a time is held in memory."""
  share = cut(batch, parts())
  like = jax.eval_shape(mean_of, *jax.tree.map(lambda array: array[0], share))
  total, _ = jax.lax.scan(
    lambda total, part: (jax.tree.map(jnp.add, total, mean_of(*part)), None),
    jax.tree.map(lambda mean: jnp.zeros(mean.shape, mean.dtype), like),
    share,
  )
  return jax.tree.map(lambda mean: mean / parts(), total)


def ordered_reduction(mean_of: Callable[..., Any], batch: tuple[Any, ...]) -> Any:
  """The mean over BLOCKS fixed blocks of the batch, summed in one order on any number of devices.

  The bits are the same on 1, 2, 4 and 8 devices. Block b holds the images whose place in the
  global batch is b modulo BLOCKS. The loop over blocks keeps XLA from fusing them into differently
  rounded sums.
  """
  blocks = cut(batch, parts())  # on this device: block k * devices + device
  _, here = jax.lax.scan(lambda _, block: (None, mean_of(*block)), None, blocks)
  there = jax.lax.all_gather(here, DEVICES, axis=1)  # (blocks, devices, ...), in block order
  total, _ = jax.lax.scan(
    lambda total, block: (jax.tree.map(jnp.add, total, block), None),
    jax.tree.map(lambda g: jnp.zeros_like(g[0, 0]), there),
    jax.tree.map(lambda g: g.reshape(BLOCKS, *g.shape[2:]), there),
  )
  return jax.tree.map(lambda g: g / BLOCKS, total)


def cut(batch: Any, blocks: int) -> Any:
  """(N, ...) -> (blocks, N / blocks, ...): example i goes to block i modulo their number."""
  return jax.tree.map(lambda a: jnp.swapaxes(a.reshape(-1, blocks, *a.shape[1:]), 0, 1), batch)


BLOCKS = 16  # two or more on each of up to 8 devices, as XLA unrolls a loop of one
REDUCTIONS = {'mean': mean_reduction, 'ordered': ordered_reduction}
# While a step is traced: how the batch is averaged over, and in how many parts a device computes
# its share. Properties of the run, which no objective needs to know, and of the keys under which
# JAX keeps what it has traced.
reducing = jax.make_user_context('mean')
accumulating = jax.make_user_context(1)


def draw_label(class_counts: tuple[int, ...], key: Key) -> Label:
  """A class as often as the training images have it; -1 where they have none."""
  if not class_counts:
    return jnp.int32(-1)
  frequencies = jnp.array(class_counts, jnp.float32) / sum(class_counts)
  return jax.random.choice(key, len(class_counts), p=frequencies).astype(jnp.int32)


def prefix(name: str, metrics: Metrics) -> Metrics:
  """Puts `name/` before every metric, for objectives that descend on several losses."""
  return {f'{name}/{key}': value for key, value in metrics.items()}


def arguments(section: ml_collections.ConfigDict) -> dict[str, Any]:
  """A config section as keyword arguments: all its fields but the name that chose the callee."""
  return {field: value for field, value in section.items() if field != 'name'}
