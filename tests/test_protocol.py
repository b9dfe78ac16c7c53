"""A number carries how it was made, and refuses to be compared with another kind."""

import json

import ml_collections
import pytest

from jaxgen.evaluation.protocol import (
  VERSION,
  Number,
  Protocol,
  of_a_plot,
  over_seeds,
  sampler_name,
  several,
)

FEATURES, IMAGES = 'a1b2c3d4e5f60718', 'c3d4e5f60718293a'
PROTOCOL = Protocol('fid_classifier', FEATURES, 'mnist', 'test', IMAGES, 10_000, 1000, 'none', 0)
NAME = 'fid_classifier:a1b2c3d4@v2[mnist/test:c3d4e5f6 n=1000 against 10000 seed=0]'


def test_prints_as_what_it_is() -> None:
  assert str(PROTOCOL) == NAME
  resized = PROTOCOL._replace(resize='lanczos32', seed=3)
  assert str(resized) == NAME.replace('seed=0', 'lanczos32 seed=3')
  alone = PROTOCOL._replace(metric='unclaimed_classifier', split='', reference='')
  assert str(alone) == 'unclaimed_classifier:a1b2c3d4@v2[mnist n=1000 seed=0]'
  drawn = PROTOCOL._replace(sampler='ddim eta=0 steps=50')
  assert str(drawn) == NAME.replace('seed=0', 'seed=0 by ddim eta=0 steps=50')


@pytest.mark.parametrize('field', Protocol._fields)
def test_whatever_decides_a_number_is_printed(field: str) -> None:
  """So that two scales share neither a plot nor a name."""
  value = getattr(PROTOCOL, field)
  other = value + 1 if isinstance(value, int) else f'f{value}'
  assert str(PROTOCOL._replace(**{field: other})) != str(PROTOCOL)


def test_a_plot_has_all_seeds_and_samplers() -> None:
  for number, sampler in ((0, ''), (12, 'ancestral steps=1000')):
    name = str(PROTOCOL._replace(seed=number, sampler=sampler))
    assert of_a_plot(name) == (NAME.replace(' seed=0', ''), sampler)
  assert of_a_plot('fid@v1[digits/train n=80 seed=0]')[0] == 'fid@v1[digits/train n=80]'
  assert of_a_plot('something else') == ('something else', '')


def test_samplers_in_words() -> None:
  section = {'name': 'ddim', 'steps': 50, 'eta': 0.0}
  assert sampler_name(section) == 'ddim eta=0 steps=50'
  assert sampler_name(ml_collections.ConfigDict(section)) == sampler_name(section)
  assert sampler_name(section | {'eta': 0}) == sampler_name(section)
  assert sampler_name(section | {'eta': 0.5}) == 'ddim eta=0.5 steps=50'
  assert sampler_name(None) == sampler_name({}) == ''


def test_what_other_samplers_take_goes_unsaid_where_there_is_no_grid() -> None:
  section = {'name': 'ddim', 'steps': 50, 'eta': 0.0, 'clip': False}
  others = {'sigma_min': 0.0, 'order': 0}
  assert sampler_name(section | others | {'grid': ''}) == 'ddim clip=False eta=0 steps=50'
  on_a_grid = sampler_name(section | others | {'name': 'heun', 'grid': 'time'})
  assert on_a_grid == 'heun clip=False eta=0 grid=time order=0 sigma_min=0 steps=50'


@pytest.mark.parametrize(
  'number',
  [
    Number(PROTOCOL, 1.25),
    Number(PROTOCOL, 0.5, 0.01),
    Number(PROTOCOL, None, reason='too few images'),
    Number(PROTOCOL._replace(sampler='heun steps=20'), 0.5, 0.01, sets=3),
  ],
)
def test_json_keeps_everything(number: Number) -> None:
  stored = json.loads(json.dumps(number.to_json()))
  assert stored['protocol']['name'] == str(number.protocol)
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
  assert PROTOCOL.comparable != PROTOCOL._replace(**{field: value}).comparable


def test_seeds_and_samplers_compare() -> None:
  assert PROTOCOL.comparable == PROTOCOL._replace(seed=7, sampler='ddim steps=50').comparable


def test_samplers_compare_but_are_not_averaged() -> None:
  """Two samplers of one model are two models, and not two seeds of one."""
  slow, fast = (PROTOCOL._replace(sampler=f'ddim steps={steps}') for steps in (1000, 5))
  assert over_seeds([Number(slow, 10.0), Number(fast, 90.0)]) == []
  (spread,) = over_seeds([Number(fast, 10.0), Number(fast._replace(seed=2), 16.0)])
  assert spread.protocol == NAME.replace('seed=0', 'seeds=0,2 by ddim steps=5')
  assert (spread.mean, spread.deviation) == pytest.approx((13.0, 18.0**0.5))
  assert several([slow, fast._replace(seed=1)]) == NAME.replace('seed=0', 'seeds=0,1')


def test_one_seed_twice_is_not_two() -> None:
  with pytest.raises(ValueError, match='is there twice'):
    over_seeds([Number(PROTOCOL, 10.0), Number(PROTOCOL, 12.0)])


def test_equal_numbers_spread_by_nothing() -> None:
  """Their mean in floating point is not one of them."""
  equal = [Number(PROTOCOL._replace(seed=seed), 0.1) for seed in range(3)]
  assert over_seeds(equal)[0].deviation == 0.0


def test_the_first_version_is_read_and_never_compared() -> None:
  stored = Number(PROTOCOL._replace(version=1), 1.0).to_json()
  del stored['protocol']['sampler']
  old = Number.from_json(stored).protocol
  assert (old.sampler, old.version) == ('', 1)
  assert old.comparable != PROTOCOL.comparable
  with pytest.raises(ValueError, match='sampler is None'):
    Number.from_json({**stored, 'protocol': stored['protocol'] | {'version': 2}})


def test_damaged_records_are_refused() -> None:
  stored = Number(PROTOCOL, 1.0).to_json()
  with pytest.raises(ValueError, match="samples is 'many', where int"):
    Number.from_json(stored | {'protocol': stored['protocol'] | {'samples': 'many'}})
  with pytest.raises(ValueError, match='without a protocol'):
    Number.from_json({'value': 1.0})
  with pytest.raises(ValueError, match='is no number'):
    Number.from_json(stored | {'value': 'low'})
  with pytest.raises(ValueError, match='0 is no number of sets'):
    Number.from_json(stored | {'sets': 0})
