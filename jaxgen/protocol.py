"""How a number was made, as a value: numbers compare only where their protocols do.

A protocol prints as `fid_classifier@v1[mnist/test n=10000 seed=0]`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

VERSION = 1  # to be raised when a metric's definition, defaults or preprocessing change


class Protocol(NamedTuple):
  """All that decides a number besides the model.

  Attributes:
    metric: what is measured and by which features, as in 'fid_classifier'.
    fingerprint: hash of the features.
    dataset: the data's name.
    split: the reference: 'test', 'train', or '' of a number that looks at the samples alone.
    reference: hash of the reference images, '' without a reference.
    reference_images: how many of them were used.
    samples: generated images that were used.
    resize: how the data were resized before anything else, as in 'lanczos32', or 'none'.
    seed: of the samples.
    version: of the metric's definition.
  """

  metric: str
  fingerprint: str
  dataset: str
  split: str
  reference: str
  reference_images: int
  samples: int
  resize: str
  seed: int
  version: int = VERSION

  def __str__(self) -> str:
    where = f'{self.dataset}/{self.split}' if self.split else self.dataset
    resize = '' if self.resize == 'none' else f' {self.resize}'
    return f'{self.metric}@v{self.version}[{where} n={self.samples}{resize} seed={self.seed}]'

  @property
  def comparable(self) -> tuple[Any, ...]:
    """What must be equal in two numbers that are compared or averaged: everything but the seed."""
    return tuple(self._replace(seed=0))

  def to_json(self) -> dict[str, str | int]:
    """The fields by name, and under `name` what is printed."""
    return {'name': str(self)} | self._asdict()

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """What `to_json` gave.

    Raises:
      ValueError: a field is missing or of another type.
    """
    for name, kind in cls.__annotations__.items():
      if type(fields.get(name)) is not kind:
        raise ValueError(
          f'The protocol field {name} is {fields.get(name)!r}, where {kind.__name__} is needed; '
          'evaluate the model again'
        )
    return cls(*(fields[name] for name in cls._fields))


def require_comparable(first: Protocol, second: Protocol) -> None:
  """Raises ValueError, naming what differs, where two numbers must not be compared."""
  differ = [
    f'{name} {a!r} and {b!r}'
    for name, a, b in zip(Protocol._fields, first.comparable, second.comparable, strict=True)
    if a != b
  ]
  if differ:
    raise ValueError(
      f'{first} and {second} do not compare: they differ in {", ".join(differ)}; evaluate both '
      'models under one protocol'
    )


class Number(NamedTuple):
  """A measured value with its protocol, or the reason why there is none."""

  protocol: Protocol
  value: float | None
  standard_error: float | None = None
  reason: str | None = None

  def to_json(self) -> dict[str, Any]:
    """The fields that say something, for JSON."""
    fields = {'protocol': self.protocol.to_json(), 'value': self.value}
    optional = {'standard_error': self.standard_error, 'reason': self.reason}
    return fields | {name: value for name, value in optional.items() if value is not None}

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """What `to_json` gave. Raises ValueError if it is something else."""
    if not isinstance(fields, Mapping) or not isinstance(fields.get('protocol'), Mapping):
      raise ValueError(f'A number without a protocol: {fields!r}; evaluate the model again')
    value, error = fields.get('value'), fields.get('standard_error')
    if not all(part is None or type(part) in (int, float) for part in (value, error)):
      raise ValueError(f'{value!r} with standard error {error!r} is no number')
    return cls(Protocol.from_json(fields['protocol']), value, error, fields.get('reason'))


class Spread(NamedTuple):
  """A number measured with several seeds: their mean and standard deviation (of a sample)."""

  protocol: str
  mean: float
  deviation: float


def over_seeds(numbers: Sequence[Number]) -> list[Spread]:
  """What numbers of equal protocols but for the seed come to, where there are several."""
  found: dict[tuple[Any, ...], list[Number]] = {}
  for number in numbers:
    if number.value is not None:
      found.setdefault(number.protocol.comparable, []).append(number)
  return [
    Spread(
      several(group[0].protocol, [number.protocol.seed for number in group]),
      float(np.mean([number.value for number in group])),
      float(np.std([number.value for number in group], ddof=1)),
    )
    for group in found.values()
    if len(group) > 1
  ]


def several(protocol: Protocol, seeds: Sequence[int]) -> str:
  """How a protocol prints that was followed with each of these seeds."""
  distinct = sorted(set(seeds))
  if len(distinct) == 1:
    return str(protocol._replace(seed=distinct[0]))
  listed = ','.join(map(str, distinct))
  return str(protocol).replace(f' seed={protocol.seed}]', f' seeds={listed}]')
