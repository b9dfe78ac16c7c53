"""A number carries how it was made, and refuses to be compared with another kind."""

import json

import pytest

from jaxgen.protocol import VERSION, Number, Protocol, require_comparable

PROTOCOL = Protocol('fid_classifier', 'a1b2', 'mnist', 'test', 'c3d4', 10_000, 10_000, 'none', 0)


def test_prints_as_what_it_is() -> None:
  assert str(PROTOCOL) == 'fid_classifier@v1[mnist/test n=10000 seed=0]'
  resized = PROTOCOL._replace(resize='lanczos32', seed=3)
  assert str(resized) == 'fid_classifier@v1[mnist/test n=10000 lanczos32 seed=3]'
  alone = PROTOCOL._replace(metric='unclaimed_classifier', split='', reference='')
  assert str(alone) == 'unclaimed_classifier@v1[mnist n=10000 seed=0]'


@pytest.mark.parametrize(
  'number',
  [
    Number(PROTOCOL, 1.25),
    Number(PROTOCOL, 0.5, 0.01),
    Number(PROTOCOL, None, reason='too few images'),
  ],
)
def test_json_keeps_everything(number: Number) -> None:
  stored = json.loads(json.dumps(number.to_json()))
  assert stored['protocol']['name'] == str(PROTOCOL)
  assert Number.from_json(stored) == number


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('metric', 'fid_pixels'),
    ('fingerprint', 'ffff'),
    ('dataset', 'digits'),
    ('split', 'train'),
    ('reference', 'ffff'),
    ('reference_images', 500),
    ('samples', 5000),
    ('resize', 'lanczos32'),
    ('version', VERSION + 1),
  ],
)
def test_whatever_decides_a_number_forbids_comparison(field: str, value: object) -> None:
  with pytest.raises(ValueError, match=rf'do not compare: they differ in {field} .*one protocol'):
    require_comparable(PROTOCOL, PROTOCOL._replace(**{field: value}))


def test_seeds_compare() -> None:
  require_comparable(PROTOCOL, PROTOCOL._replace(seed=7))


def test_damaged_records_are_refused() -> None:
  stored = Number(PROTOCOL, 1.0).to_json()
  with pytest.raises(ValueError, match="samples is 'many', where int"):
    Number.from_json(stored | {'protocol': stored['protocol'] | {'samples': 'many'}})
  with pytest.raises(ValueError, match='without a protocol'):
    Number.from_json({'value': 1.0})
  with pytest.raises(ValueError, match='is no number'):
    Number.from_json(stored | {'value': 'low'})
