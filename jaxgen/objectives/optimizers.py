"""Config -> optax chain: clip, one of five optimizers, warmup and decay of the rate."""

from collections.abc import Callable
from typing import Any

import jax
import optax


def decay_matrices(weight_decay: float) -> optax.GradientTransformation:
  """Adds the decay of kernels and embeddings, and of no biases nor scales of normalisations.

  Without a state, where optax's mask would add one that older checkpoints lack.
  """

  def update(updates: optax.Updates, state: Any, params: optax.Params) -> tuple[Any, Any]:
    def decay(update: jax.Array, weight: jax.Array) -> jax.Array:
      return update + weight_decay * weight if weight.ndim > 1 else update

    return jax.tree.map(decay, updates, params), state

  return optax.GradientTransformation(optax.init_empty_state, update)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
  'adam': lambda rate, b1, b2, eps, weight_decay: optax.adam(rate, b1, b2, eps),
  'adamw': lambda rate, b1, b2, eps, weight_decay: optax.chain(
    optax.scale_by_adam(b1, b2, eps),
    decay_matrices(weight_decay),
    optax.scale_by_learning_rate(rate),
  ),
  # Epsilon is added to the root, as Arjovsky's code does; inside it, gradients below 1e-4 starve.
  'rmsprop': lambda rate, b1, b2, eps, weight_decay: optax.rmsprop(
    rate, b2, eps, momentum=b1, eps_in_sqrt=False
  ),
  'sgd': lambda rate, b1, b2, eps, weight_decay: optax.sgd(rate),
  'momentum': lambda rate, b1, b2, eps, weight_decay: optax.sgd(rate, momentum=b1),
}
EPSILON = 1e-8  # where none is named


def find_optimizer(
  name: str,
  learning_rate: float,
  num_steps: int,
  warmup_steps: int = 0,
  schedule: str = 'constant',
  clip_norm: float = 0.0,
  weight_decay: float = 0.0,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = EPSILON,
) -> optax.GradientTransformation:
  """The optimizer of one set of parameters.

  Args:
    name: 'adam', 'adamw', 'rmsprop', 'sgd' or 'momentum' (SGD with a heavy ball).
    learning_rate: the rate after warmup, before decay.
    num_steps: updates until the rate has decayed to zero, under the cosine schedule.
    warmup_steps: updates over which the rate rises linearly from zero.
    schedule: 'constant' or 'cosine'.
    clip_norm: largest Euclidean norm of the gradient; 0 leaves gradients as they are.
    weight_decay: AdamW's decoupled decay, of matrices alone, see `decay_matrices`.
    b1: decay of the mean gradient (Adam) or the momentum ('rmsprop', where papers have 0, and
      'momentum'); 'sgd' has none.
    b2: decay of the mean squared gradient (Adam, RMSProp).
    eps: added to the root of the mean squared gradient (Adam, RMSProp).

  Raises:
    ValueError: an unknown name or schedule, a weight decay or an epsilon that the optimizer would
      ignore, or a warmup that leaves nothing to decay.
  """
  if name not in OPTIMIZERS:
    raise ValueError(f'optimizer.name={name!r}; choose one of {", ".join(OPTIMIZERS)}')
  if weight_decay and name != 'adamw':
    raise ValueError(f'optimizer.weight_decay={weight_decay} has no effect on {name}: use adamw')
  if eps != EPSILON and name in ('sgd', 'momentum'):
    raise ValueError(f'optimizer.eps={eps} has no effect on {name}: use adam, adamw or rmsprop')
  if schedule == 'cosine' and warmup_steps >= num_steps:
    raise ValueError(
      f'optimizer.warmup_steps={warmup_steps} must be below the number of updates, {num_steps}: '
      'raise num_steps or lower it'
    )
  first = 0.0 if warmup_steps else learning_rate  # optax stays at the first value without a warmup
  if schedule == 'cosine':
    rate = optax.warmup_cosine_decay_schedule(first, learning_rate, warmup_steps, num_steps)
  elif schedule == 'constant':
    rate = optax.warmup_constant_schedule(first, learning_rate, warmup_steps)
  else:
    raise ValueError(f'optimizer.schedule={schedule!r}; choose constant or cosine')
  clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  return optax.chain(*clip, OPTIMIZERS[name](rate, b1, b2, eps, weight_decay))
