"""How a classifier for features is trained: Adam on shifted images under a one-cycle rate."""

from functools import partial
from typing import Any, NamedTuple, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.images import moved
from jaxgen.progress import follow

EPOCHS = 100  # few images are not looked at more often than this


class Recipe(NamedTuple):
  """How the classifier is trained; part of the name under which it is kept.

  Attributes:
    dimension: of the features.
    steps: of training.
    batch_size: in images.
    learning_rate: the highest.
    seed: of the first parameters, the order of the images and their shifts.
  """

  dimension: int = 64
  steps: int = 1200
  batch_size: int = 128
  learning_rate: float = 0.004
  seed: int = 0

  def bounded(self, images: int) -> Self:
    """The same with at most EPOCHS passes over so many images."""
    return self._replace(steps=min(self.steps, EPOCHS * -(-images // self.batch_size)))


_adam = optax.scale_by_adam()

# Of what XLA would give to the library YNNPACK on a CPU, only products and convolutions: it adds up
# sums in an order that depends on the number of threads, as XLA's own convolutions do.
_ANY_NUMBER_OF_CORES = {
  'xla_cpu_experimental_ynn_fusion_type': (
    'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION'
  )
}


@partial(jax.jit, static_argnums=0, compiler_options=_ANY_NUMBER_OF_CORES)
def _step(
  network: nn.Module,
  params: Any,
  state: optax.OptState,
  images: jax.Array,
  labels: jax.Array,
  key: jax.Array,
  rate: jax.Array,
) -> tuple[Any, optax.OptState, jax.Array]:
  """One step of Adam on the cross-entropy (nats) of shifted images."""
  reach = max(1, min(images.shape[1:3]) // 16)  # a sixteenth of the side
  images = jax.vmap(partial(moved, reach=reach))(images, jax.random.split(key, len(images)))

  def loss(params: Any) -> jax.Array:
    _, logits = network.apply(params, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

  value, gradient = jax.value_and_grad(loss)(params)
  updates, state = _adam.update(gradient, state)
  return jax.tree.map(lambda p, u: p - rate * u, params, updates), state, value


def train(network: nn.Module, recipe: Recipe, images: np.ndarray, labels: np.ndarray) -> Any:
  """Parameters after Adam under a one-cycle learning rate, epoch after shuffled epoch."""
  initial_key, shift_key = jax.random.split(jax.random.key(recipe.seed))
  schedule = optax.cosine_onecycle_schedule(recipe.steps, recipe.learning_rate, pct_start=0.2)
  rates = np.asarray(jax.vmap(schedule)(jnp.arange(recipe.steps)))
  params = jax.jit(network.init)(initial_key, images[:1])
  state = _adam.init(params)
  generator = np.random.default_rng(recipe.seed)
  size = min(recipe.batch_size, len(images))
  queue = np.empty(0, np.int64)
  steps = follow(rates, recipe.steps, 'classifier for features', 'steps', lambda _: 1)
  for number, rate in enumerate(steps):
    if len(queue) < size:
      queue = generator.permutation(len(images))
    chosen, queue = queue[:size], queue[size:]
    key = jax.random.fold_in(shift_key, number)
    batch = images[chosen], labels[chosen]
    params, state, loss = _step(network, params, state, *batch, key, rate)
    loss.block_until_ready()  # else the pace would be that of asking for it
  return params
