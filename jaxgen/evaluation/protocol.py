"""How a number was made, as a value: numbers compare only where their protocols do.

A protocol prints as
`fid_classifier:a1b2c3d4@v2[mnist/test:c3d4e5f6 n=1000 against 10000 seed=0 by ddim steps=50]`: the
metric and its features, with the beginning of their hash; the version of its definition; the
reference, with the beginning of its hash; how many samples against how many of its images; the
seed and the sampler of the samples.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

VERSION = 2  # to be raised when a metric's definition, defaults or preprocessing change
_SHORT = 8  # digits of a hash that are printed


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
    seed: of the samples, and of a metric's own drawing of subsets.
    sampler: how the samples were drawn (`sampler_name`), '' of a model with one way only.
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
  sampler: str = ''
  version: int = VERSION

  def __str__(self) -> str:
    return several([self])

  @property
  def comparable(self) -> tuple[Any, ...]:
    """What must be equal in two numbers of a row: all but seed and sampler, as models differ."""
    return tuple(self._replace(seed=0, sampler=''))

  @property
  def averaged(self) -> tuple[Any, ...]:
    """What must be equal in numbers of one mean: all but the seed, which must not be."""
    return tuple(self._replace(seed=0))

  def to_json(self) -> dict[str, str | int]:
    """The fields by name, and under `name` what is printed."""
    return {'name': str(self)} | self._asdict()

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """What `to_json` gave, of this version or of the first, which did not name the sampler.

    Raises:
      ValueError: a field is missing or of another type.
    """
    if fields.get('version') == 1:
      fields = {'sampler': ''} | dict(fields)
    for name, kind in cls.__annotations__.items():
      if type(fields.get(name)) is not kind:
        raise ValueError(
          f'The protocol field {name} is {fields.get(name)!r}, where {kind.__name__} is needed; '
          'evaluate the model again'
        )
    return cls(*(fields[name] for name in cls._fields))


class Number(NamedTuple):
  """A measured value with its protocol, or the reason why there is none.

  Attributes:
    protocol: how it was measured.
    value: the mean over `sets`.
    standard_error: of one set of samples; the reference is taken as it is, but for the kernel
      distance, whose blocks are of both.
    reason: why there is no value.
    sets: of samples, each of the protocol's number.
  """

  protocol: Protocol
  value: float | None
  standard_error: float | None = None
  reason: str | None = None
  sets: int = 1

  def to_json(self) -> dict[str, Any]:
    """The fields that say something, for JSON."""
    fields = {'protocol': self.protocol.to_json(), 'value': self.value}
    sets = self.sets if self.sets > 1 else None
    optional = {'standard_error': self.standard_error, 'reason': self.reason, 'sets': sets}
    return fields | {name: value for name, value in optional.items() if value is not None}

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """What `to_json` gave. Raises ValueError if it is something else."""
    if not isinstance(fields, Mapping) or not isinstance(fields.get('protocol'), Mapping):
      raise ValueError(f'A number without a protocol: {fields!r}; evaluate the model again')
    value, error = fields.get('value'), fields.get('standard_error')
    if not all(part is None or type(part) in (int, float) for part in (value, error)):
      raise ValueError(f'{value!r} with standard error {error!r} is no number')
    sets = fields.get('sets', 1)
    if type(sets) is not int or sets < 1:
      raise ValueError(f'{sets!r} is no number of sets')
    return cls(Protocol.from_json(fields['protocol']), value, error, fields.get('reason'), sets)


class Spread(NamedTuple):
  """A number of several sets of samples of one model: their mean and deviation (of a sample).

  It does not say how far the number moves when the model is trained again.
  """

  protocol: str
  mean: float
  deviation: float


def over_seeds(numbers: Sequence[Number]) -> list[Spread]:
  """What numbers of equal protocols but for the seed come to, where there are several seeds.

  Raises:
    ValueError: a seed is there twice, which would be counted as two.
  """
  found: dict[tuple[Any, ...], list[Number]] = {}
  for number in numbers:
    if number.value is not None:
      found.setdefault(number.protocol.averaged, []).append(number)
  for group in found.values():
    if len({number.protocol.seed for number in group}) < len(group):
      raise ValueError(f'{group[0].protocol} is there twice; give each set of samples its own seed')
  return [
    Spread(
      several([number.protocol for number in group]),
      float(np.mean([number.value for number in group])),
      deviation([number.value for number in group]),
    )
    for group in found.values()
    if len(group) > 1
  ]


def deviation(values: Sequence[float]) -> float:
  """The standard deviation of a sample (n - 1); exactly 0 of equal values, without rounding."""
  return float(np.std(values, ddof=1)) if np.ptp(values) > 0.0 else 0.0


def several(protocols: Sequence[Protocol]) -> str:
  """What one protocol, followed with any of these seeds and samplers, prints as.

  The sampler is named where all used the same.
  """
  one = protocols[0]
  parts = [f'{one.dataset}/{one.split}:{one.reference[:_SHORT]}' if one.split else one.dataset]
  parts.append(f'n={one.samples}')
  if one.split:
    parts.append(f'against {one.reference_images}')
  if one.resize != 'none':
    parts.append(one.resize)
  seeds = sorted({protocol.seed for protocol in protocols})
  parts.append(f'seed{"s" if len(seeds) > 1 else ""}={",".join(map(str, seeds))}')
  if one.sampler and all(protocol.sampler == one.sampler for protocol in protocols):
    parts.append(f'by {one.sampler}')
  return f'{one.metric}:{one.fingerprint[:_SHORT]}@v{one.version}[{" ".join(parts)}]'


def of_a_plot(name: str) -> tuple[str, str]:
  """A printed protocol -> the same without seed and sampler, and the sampler ('' if none)."""
  found = re.fullmatch(r'(.*) seed=\d+(?: by (.*))?\]', name)
  return (f'{found[1]}]', found[2] or '') if found else (name, '')


def sampler_name(section: Mapping[str, Any] | None) -> str:
  """The config's section `sampler` in words, as in 'ddim eta=0 steps=50', or ''.

  Without a grid, a model goes by its own steps, and what else is 0 is of samplers on a grid.
  """
  fields = dict(section or {})
  name = str(fields.pop('name', ''))
  if fields.get('grid') == '':
    fields = {field: v for field, v in fields.items() if v or field in ('clip', 'eta')}
  words = (f'{k}={v:g}' if type(v) is float else f'{k}={v}' for k, v in sorted(fields.items()))
  return ' '.join([name, *words]).strip()
