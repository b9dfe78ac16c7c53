"""What a config must hold, and which values its fields can have."""

import math
from typing import Any

import ml_collections

from jaxgen.errors import UserError
from jaxgen.fields import flatten, own_name
from jaxgen.objectives.base import BLOCKS, REDUCTIONS

# What every config holds; objectives, networks and optimizers check their own sections.
REQUIRED = {
  **dict.fromkeys(('seed', 'num_steps', 'batch_size', 'steps_per_call', 'log_every'), int),
  **dict.fromkeys(('checkpoint.every', 'checkpoint.keep', 'evaluation.every'), int),
  **dict.fromkeys(('evaluation.batch_size', 'evaluation.validation_images'), int),
  **dict.fromkeys(('evaluation.training_samples', 'evaluation.num_samples'), int),
  **dict.fromkeys(('evaluation.seeds', 'cpu_devices', 'accumulate'), int),
  **dict.fromkeys(('data.image_size', 'data.channels', 'data.crop'), int),
  **dict.fromkeys(('ema_decay', 'data.validation_fraction', 'data.test_fraction'), float),
  **dict.fromkeys(('data.name', 'data.path', 'data.binarize', 'objective.name'), str),
  **dict.fromkeys(('reduction', 'checkpoint.best', 'init_from', 'tracker'), str),
  **dict.fromkeys(('evaluation.inception_weights', 'evaluation.s4_legacy_weights'), str),
  'evaluation.classifier_weights': str,
  'data.memory_limit': int,
  'data.flip': bool,
}

# Integers that may be zero, where it means none, never, as it is, or only at the end.
MAY_BE_ZERO = (
  *('seed', 'cpu_devices', 'checkpoint.every', 'evaluation.every'),
  *('evaluation.training_samples', 'evaluation.num_samples', 'evaluation.likelihood_steps'),
  *('data.', 'optimizer.', 'objective.', 'sampler.', 'network.attention'),
  *('network.stem', 'network.padding'),
)
DTYPES = ('float32', 'bfloat16')
SIZES = ('latent', 'code', 'width', 'samples', 'critic_steps', 'timesteps', 'steps')


def check_values(config: ml_collections.ConfigDict) -> None:
  """Checks that all fields are there, and that their values can be.

  Raises:
    UserError: names the field, its value and what would do.
  """
  fields = dict(flatten(config.to_dict()))
  for name, kind in REQUIRED.items():
    if name not in fields:
      raise UserError(f'the config lacks {name}; experiments/common.py shows what a config holds')
    if type(fields[name]) is not kind and not (kind is float and type(fields[name]) is int):
      raise UserError(f'config.{name}={fields[name]!r} must be of type {kind.__name__}')
  for name, value in fields.items():
    for number in value if isinstance(value, tuple) else (value,):
      check_number(name, value, number)
  if not 0.0 <= config.ema_decay < 1.0:
    raise UserError(f'config.ema_decay={config.ema_decay} must lie in [0, 1)')
  dtype = config.get('network', {}).get('dtype', DTYPES[0])
  if dtype not in DTYPES:
    raise UserError(f'config.network.dtype={dtype!r}; choose {" or ".join(DTYPES)}')
  if config.seed >= 2**32:
    raise UserError(f'config.seed={config.seed} must be below 2**32')


def check_division(config: ml_collections.ConfigDict, devices: int) -> None:
  """Checks that a run can be divided among devices, critic steps and dispatches.

  Raises:
    UserError: names the field, its value and what would do.
  """
  fields = dict(flatten(config.to_dict()))
  steps = config.steps_per_call
  for name in ('num_steps', 'log_every', 'checkpoint.every', 'evaluation.every'):
    if fields[name] % steps:
      raise UserError(
        f'config.{name}={fields[name]} must be a multiple of config.steps_per_call={steps}, the '
        'updates done in one dispatch'
      )
  if config.reduction not in REDUCTIONS:
    raise UserError(f'config.reduction={config.reduction!r}; choose {" or ".join(REDUCTIONS)}')
  parts, among = devices * config.accumulate, f'{devices} devices'
  if config.accumulate > 1:
    among += f' with {config.accumulate} parts each'
  if config.reduction == 'ordered':
    if config.accumulate > 1:
      raise UserError(
        f'config.accumulate={config.accumulate} has no effect with config.reduction=ordered, which '
        f'computes the {BLOCKS} blocks of a batch one after another anyway: set it to 1'
      )
    if BLOCKS % devices or devices > BLOCKS // 2:
      raise UserError(f'config.reduction=ordered needs 1, 2, 4 or 8 devices, not {devices}')
    parts, among = BLOCKS, f'the {BLOCKS} blocks of an ordered reduction'
  share = parts * config.objective.get('critic_steps', 1)
  if config.batch_size % share:
    fitting = max(share, config.batch_size // share * share)
    raise UserError(
      f'config.batch_size={config.batch_size} cannot be divided among {among}'
      + (f' and {share // parts} critic steps' if share > parts else '')
      + f': use {fitting} or another multiple of {share}'
    )


def check_number(name: str, value: Any, number: Any) -> None:
  """Raises UserError where a field's number is negative, zero or infinite and may not be."""
  if isinstance(number, float):
    if not math.isfinite(number):
      raise UserError(f'config.{name}={value} must be finite')
    if number < 0 and 'optimizer.' in name:
      raise UserError(f'config.{name}={value} must not be negative')
  elif isinstance(number, int) and not isinstance(number, bool):
    zero = own_name(name).startswith(MAY_BE_ZERO) or 'optimizer.' in name
    zero = zero and name.rpartition('.')[2] not in SIZES
    if number < (0 if zero else 1):
      raise UserError(f'config.{name}={value} must be {"zero or " * zero}positive')
  elif not isinstance(number, str | bool):
    raise UserError(f'config.{name}={value!r} is neither number, text, true, false nor a tuple')
