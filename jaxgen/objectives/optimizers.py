"""Config -> optax chain: clip, one of six optimizers, warmup and decay of the rate."""

import functools
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import jax
import optax

VECTORS = 'bias', 'scale'  # also where blocks have theirs along a first axis


def decay_matrices(weight_decay: float) -> optax.GradientTransformation:
  """Adds the decay of kernels and embeddings, and of no biases nor scales of normalisations.

  Without a state, where optax's mask would add one that older checkpoints lack.
  """

  def update(updates: optax.Updates, state: Any, params: optax.Params) -> tuple[Any, Any]:
    def decay(path: tuple[Any, ...], update: jax.Array, weight: jax.Array) -> jax.Array:
      vector = weight.ndim < 2 or (path and getattr(path[-1], 'key', '') in VECTORS)
      return update if vector else update + weight_decay * weight

    return jax.tree_util.tree_map_with_path(decay, updates, params), state

  return optax.GradientTransformation(optax.init_empty_state, update)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
  'adam': lambda rate, b1, b2, eps, weight_decay: optax.adam(rate, b1, b2, eps),
  'adamw': lambda rate, b1, b2, eps, weight_decay: optax.chain(
    optax.scale_by_adam(b1, b2, eps),
    decay_matrices(weight_decay),
    optax.scale_by_learning_rate(rate),
  ),
  'adamax': lambda rate, b1, b2, eps, weight_decay: optax.adamax(rate, b1, b2, eps),
  # Epsilon is added to the root, as Arjovsky's code does; inside it, gradients below 1e-4 starve.
  'rmsprop': lambda rate, b1, b2, eps, weight_decay: optax.rmsprop(
    rate, b2, eps, momentum=b1, eps_in_sqrt=False
  ),
  'sgd': lambda rate, b1, b2, eps, weight_decay: optax.sgd(rate),
  'momentum': lambda rate, b1, b2, eps, weight_decay: optax.sgd(rate, momentum=b1),
}
EPSILON = 1e-8  # where none is named

# What follows the warmup: the highest rate and the updates that are left -> a rate for each.
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
  'constant': lambda rate, steps: optax.constant_schedule(rate),
  'cosine': optax.cosine_decay_schedule,
  'linear': lambda rate, steps: optax.linear_schedule(rate, 0.0, steps),
  'exponential': lambda rate, steps: optax.exponential_decay(rate, steps, LEFT),
  'warm_restarts': lambda rate, steps: warm_restarts(rate, steps),
}
LEFT = 1e-3  # of the rate, at the end of the exponential schedule
PERIODS = 3  # of the warm restarts


def warm_restarts(rate: float, steps: int) -> optax.Schedule:
  """Cosine decays that begin anew, each twice as long as the last (Loshchilov & Hutter 2017).

  The last of the PERIODS ends with the last update.
  """
  ends = [round(steps * (2**k - 1) / (2**PERIODS - 1)) for k in range(PERIODS + 1)]
  lengths = [max(1, end - start) for start, end in pairwise(ends)]
  return optax.join_schedules(
    [optax.cosine_decay_schedule(rate, length) for length in lengths], ends[1:-1]
  )


def find_schedule(
  learning_rate: float, num_steps: int, warmup_steps: int = 0, schedule: str = 'constant'
) -> optax.Schedule:
  """The rate of each update, counted from 0; `find_optimizer` says what the arguments are.

  Raises:
    ValueError: an unknown schedule, or a warmup that leaves nothing to decay.
  """
  if schedule not in SCHEDULES:
    raise ValueError(f'optimizer.schedule={schedule!r}; choose one of {", ".join(SCHEDULES)}')
  if schedule != 'constant' and warmup_steps >= num_steps:
    raise ValueError(
      f'optimizer.warmup_steps={warmup_steps} must be below the number of updates, {num_steps}: '
      'raise num_steps or lower it'
    )
  after = SCHEDULES[schedule](learning_rate, max(1, num_steps - warmup_steps))
  if not warmup_steps:
    return after
  rising = optax.linear_schedule(0.0, learning_rate, warmup_steps)
  return optax.join_schedules([rising, after], [warmup_steps])


# The sections whose schedules count the updates of a run -> what their rates are called.
RATES = {
  'optimizer': 'learning_rate',
  'critic_optimizer': 'critic_learning_rate',
  'discriminator_optimizer': 'discriminator_learning_rate',
}


def learning_rates(config: Mapping[str, Any], step: int) -> dict[str, float]:
  """The rates of the update that leads to a step, by name; {} of a model that has none.

  Of a critic's updates, that take several for each of the generator's, the first.
  """
  found = {}
  for section, name in RATES.items():
    fields = config.get(section, {})
    if fields.get('schedule') in SCHEDULES:
      chosen = fields['learning_rate'], config['num_steps'], fields['warmup_steps']
      found[name] = float(compiled_schedule(*chosen, fields['schedule'])(step - 1))
  return found


@functools.cache
def compiled_schedule(*arguments: Any) -> optax.Schedule:
  """`find_schedule` as one program: each of its dozen operations would be compiled alone."""
  return jax.jit(find_schedule(*arguments))


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
    name: 'adam', 'adamw', 'adamax' (Kingma & Ba 2015, sec. 7.1), 'rmsprop', 'sgd' or
      'momentum' (SGD with a heavy ball).
    learning_rate: the rate after warmup, before decay.
    num_steps: updates in all, over which the rate decays.
    warmup_steps: updates over which the rate rises linearly from zero.
    schedule: one of SCHEDULES.
    clip_norm: largest Euclidean norm of the gradient; 0 leaves gradients as they are.
    weight_decay: AdamW's decoupled decay, of matrices alone, see `decay_matrices`.
    b1: decay of the mean gradient (Adam, AdamW, Adamax) or the momentum ('rmsprop', where papers
      have 0, and 'momentum'); 'sgd' has none.
    b2: decay of the mean squared gradient (Adam, AdamW, RMSProp), or of the largest (Adamax).
    eps: added to the root of the mean squared gradient (Adam, AdamW, RMSProp), or to the gradient's
      size (Adamax).

  Raises:
    ValueError: an unknown name or schedule, a weight decay or an epsilon that the optimizer would
      ignore, or a warmup that leaves nothing to decay.
  """
  if name not in OPTIMIZERS:
    raise ValueError(f'optimizer.name={name!r}; choose one of {", ".join(OPTIMIZERS)}')
  if weight_decay and name != 'adamw':
    raise ValueError(f'optimizer.weight_decay={weight_decay} has no effect on {name}: use adamw')
  if eps != EPSILON and name in ('sgd', 'momentum'):
    known = 'adam, adamw, adamax or rmsprop'
    raise ValueError(f'optimizer.eps={eps} has no effect on {name}: use {known}')
  rate = find_schedule(learning_rate, num_steps, warmup_steps, schedule)
  clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  return optax.chain(*clip, OPTIMIZERS[name](rate, b1, b2, eps, weight_decay))
