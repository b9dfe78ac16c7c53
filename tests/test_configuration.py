"""The config's way from file and command line to the workdir and back."""

import contextlib
import json
import re
import string
from pathlib import Path
from typing import Any

import ml_collections
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgen import checks, configuration
from jaxgen.errors import UserError

EXPERIMENTS = Path(__file__).parent.parent / 'experiments'
NAMES = st.text(string.ascii_lowercase + '_', min_size=1, max_size=8).filter(
  lambda name: not hasattr(ml_collections.ConfigDict, name)
)
SCALARS = (
  st.integers(-(2**63), 2**63)
  | st.booleans()
  | st.text(max_size=20)
  | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=4).map(tuple)
TREES = st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=4), max_size=6)


def config(source: str, *overrides: str) -> ml_collections.ConfigDict:
  """The config of experiments/<source>.py."""
  name, colon, dataset = source.partition(':')
  return configuration.load(f'{EXPERIMENTS / name}.py{colon}{dataset}', None, overrides)


@given(tree=TREES)
def test_saved_config_is_read_back_equal(
  tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
  folder = tmp_path_factory.mktemp('run')
  configuration.save(ml_collections.ConfigDict(tree), folder)
  assert configuration.read(folder).to_dict() == tree


@given(
  rate=st.floats(0, 1e3, allow_subnormal=False),
  seed=st.integers(0, 2**32 - 1),
  hidden=st.lists(st.integers(1, 4096), min_size=1, max_size=5).map(tuple),
  learn=st.booleans(),
  name=st.text(string.ascii_letters + string.digits + '_/:.=-', min_size=1),
)
def test_overrides_take_the_types_of_their_fields(
  rate: float, seed: int, hidden: tuple[int, ...], learn: bool, name: str
) -> None:
  found = config(
    'vae',
    f'--config.optimizer.learning_rate={rate!r}',
    f'--config.seed={seed}',
    f'--config.network.hidden={hidden}',
    f'--config.objective.learn_variance={learn}',
    f'--config.data.path={name}',
  )
  assert found.optimizer.learning_rate == rate
  assert (found.seed, found.network.hidden, found.data.path) == (seed, hidden, name)
  assert found.objective.learn_variance is learn


def test_an_integer_is_taken_for_a_float_and_one_number_for_a_tuple() -> None:
  found = config('vae', '--config.ema_decay=0', '--config.network.hidden=32')
  assert type(found.ema_decay) is float
  assert found.network.hidden == (32,)


def test_the_last_of_two_overrides_of_a_field_counts() -> None:
  """Flags would append the second tuple to the first."""
  found = config(
    'gan', '--config.network.hidden=(8,8)', '--config.seed=1', '--config.network.hidden=(4,)'
  )
  assert found.network.hidden == (4,)
  assert found.seed == 1


@pytest.mark.parametrize(
  ('override', 'message'),
  [
    ('--config.optimizer.learning_rte=1', "Did you mean 'optimizer.learning_rate'"),
    ('--config.optimizer=adam', "unknown config field 'optimizer'"),
    ('--config.num_steps=1.5', 'num_steps takes a whole number, as in --config.num_steps=20000'),
    ('--config.num_steps=many', 'takes a whole number'),
    ('--config.optimizer.learning_rate=fast', 'takes a number'),
    ('--config.objective.learn_variance=maybe', 'takes true or false'),
    ('--config.network.hidden=(16,2.5)', 'must hold items like those of (400,)'),
    ('--config.network.hidden=wide', 'must hold items like those of (400,)'),
    ('--config.num_steps', 'needs a value: write --config.num_steps=20000'),
    ('num_steps=3', "stray argument 'num_steps=3'"),
  ],
)
def test_a_wrong_override_says_what_would_be_right(override: str, message: str) -> None:
  with pytest.raises(UserError) as raised:
    config('vae', override)
  assert message in str(raised.value)


@pytest.mark.parametrize(
  ('override', 'message'),
  [
    ('num_steps=0', 'config.num_steps=0 must be positive'),
    ('batch_size=-8', 'config.batch_size=-8 must be positive'),
    ('network.hidden=(16,0)', 'config.network.hidden=(16, 0) must be positive'),
    ('objective.latent=0', 'config.objective.latent=0 must be positive'),
    ('objective.critic_steps=0', 'config.objective.critic_steps=0 must be positive'),
    ('evaluation.validation_images=0', 'must be positive'),
    ('checkpoint.keep=0', 'must be positive'),
    ('checkpoint.every=-1', 'must be zero or positive'),
    ('data.image_size=-28', 'must be zero or positive'),
    ('seed=-1', 'config.seed=-1 must be zero or positive'),
    ('seed=4294967296', 'must be below 2**32'),
    ('ema_decay=1.0', 'must lie in [0, 1)'),
    ('ema_decay=nan', 'must be finite'),
    ('optimizer.learning_rate=inf', 'must be finite'),
    ('optimizer.learning_rate=-0.1', 'must not be negative'),
    ('critic_optimizer.clip_norm=-1', 'must not be negative'),
    ('num_steps=15', 'must be a multiple of config.steps_per_call=10'),
    ('batch_size=63', 'cannot be divided among 2 devices and 5 critic steps: use 60'),
    ('batch_size=3', 'use 10 or another multiple of 10'),
    ('accumulate=0', 'config.accumulate=0 must be positive'),
    ('accumulate=3', 'among 2 devices with 3 parts each and 5 critic steps: use 300 or another'),
  ],
)
def test_validation_names_the_field_and_what_would_do(override: str, message: str) -> None:
  with pytest.raises(UserError) as raised:
    checks.check_division(config('wgan', f'--config.{override}'), devices=2)
  assert message in str(raised.value)


def test_an_ordered_reduction_has_its_own_parts() -> None:
  fields = '--config.reduction=ordered', '--config.accumulate=2'
  with pytest.raises(UserError, match=r'accumulate=2 has no effect with .*ordered, which'):
    checks.check_division(config('wgan', *fields), devices=2)


def test_validation_names_a_missing_field_and_a_wrong_type() -> None:
  lacking = config('vae').copy_and_resolve_references().unlock()
  del lacking['batch_size']
  with pytest.raises(UserError, match='the config lacks batch_size'):
    checks.check_values(lacking)
  wrong = config('vae').to_dict() | {'batch_size': '64'}
  with pytest.raises(UserError, match=r"config.batch_size='64' must be of type int"):
    checks.check_values(ml_collections.ConfigDict(wrong))


@pytest.mark.parametrize('path', sorted(p.stem for p in EXPERIMENTS.glob('*.py')))
@pytest.mark.parametrize('dataset', ['', ':mnist'])
def test_every_experiment_is_valid(path: str, dataset: str) -> None:
  if path != 'common':
    checks.check_division(config(path + dataset), devices=2)


def test_the_critics_optimizer_follows_the_optimizer_where_it_is_not_given() -> None:
  for name in ('gan', 'wgan', 'wgan_gp'):
    both = config(name, '--config.optimizer.learning_rate=0.5', '--config.optimizer.b1=0.25')
    assert both.critic_optimizer.to_dict() == both.optimizer.to_dict()
    assert (both.optimizer.learning_rate, both.optimizer.b1) == (0.5, 0.25)


@pytest.mark.parametrize('first', ['optimizer', 'critic_optimizer'])
def test_the_critics_optimizer_can_be_set_apart_in_any_order(first: str) -> None:
  overrides = ['--config.optimizer.learning_rate=0.5', '--config.critic_optimizer.learning_rate=2']
  found = config('gan', *(overrides if first == 'optimizer' else overrides[::-1]))
  assert found.optimizer.learning_rate == 0.5
  assert found.critic_optimizer.learning_rate == 2.0
  alone = config('gan', '--config.critic_optimizer.learning_rate=2')
  assert alone.optimizer.learning_rate == config('gan').optimizer.learning_rate
  assert alone.critic_optimizer.learning_rate == 2.0


def test_the_critics_own_optimizer_survives_saving(tmp_path: Path) -> None:
  found = config('gan', '--config.critic_optimizer.learning_rate=2')
  configuration.save(found, tmp_path)
  saved = configuration.load(None, tmp_path, ['--config.optimizer.b2=0.5'])
  assert saved.critic_optimizer.learning_rate == 2.0


def test_another_config_is_refused_with_the_fields_named(tmp_path: Path) -> None:
  configuration.save(config('vae'), tmp_path)
  before = (tmp_path / configuration.FILE).read_bytes()
  with pytest.raises(UserError) as raised:
    configuration.save(
      config('vae', '--config.seed=3', '--config.network.hidden=(10,)', '--config.log_every=40'),
      tmp_path,
    )
  assert 'seed: 0 there, 3 now' in str(raised.value)
  assert 'network.hidden: (400,) there, (10,) now' in str(raised.value)
  assert 'log_every' not in str(raised.value)
  assert (tmp_path / configuration.FILE).read_bytes() == before


def test_fields_that_change_no_result_may_change(tmp_path: Path) -> None:
  configuration.save(config('vae'), tmp_path)
  free = [
    'log_every=40',
    'checkpoint.every=20',
    'checkpoint.keep=5',
    'evaluation.every=0',
    'evaluation.batch_size=7',
    'data.path=elsewhere',
    'data.memory_limit=0',
  ]
  configuration.save(config('vae', *(f'--config.{field}' for field in free)), tmp_path)
  assert configuration.read(tmp_path).log_every == 40


def test_a_trained_model_changes_in_nothing_but_its_sampling(tmp_path: Path) -> None:
  configuration.save(config('ddpm'), tmp_path)
  free = ('seed=3', 'sampler.name=ddim', 'sampler.steps=5', 'evaluation.num_samples=7')
  sampled = config('ddpm', *(f'--config.{field}' for field in free))
  configuration.agree(sampled, tmp_path, trained=True)
  with pytest.raises(UserError, match='seed: 0 there, 3 now'):
    configuration.agree(sampled, tmp_path)
  for field, there in {
    'objective.timesteps=500': 1000,
    'objective.schedule=cosine': 'linear',
    'objective.variance=large': 'small',
    'network.dtype=bfloat16': 'float32',
    'data.test_fraction=0.7': 0.2,
  }.items():
    name, _, now = field.partition('=')
    now = now if isinstance(there, str) else type(there)(now)
    with pytest.raises(UserError, match=f'{re.escape(name)}: {there!r} there, {now!r} now'):
      configuration.agree(config('ddpm', f'--config.{field}'), tmp_path, trained=True)


def test_what_was_of_the_sampler_before_is_left_behind_with_it() -> None:
  named = config('flow_matching', '--config.sampler.name=ddim').sampler
  assert config('flow_matching').sampler.order == 2
  assert named.order == 0
  assert named.grid == 'time'
  given = ('--config.sampler.name=dormand_prince', '--config.sampler.tolerance=1e-5')
  assert config('flow_matching', *given).sampler.tolerance == 1e-5
  kept = '--config.sampler.name=probability_flow'
  assert config('flow_matching', kept).sampler.order == 2


def test_a_run_at_a_constant_rate_may_be_made_longer_but_not_shorter(tmp_path: Path) -> None:
  configuration.save(config('vae', '--config.num_steps=100'), tmp_path)
  configuration.save(config('vae', '--config.num_steps=200'), tmp_path)
  with pytest.raises(UserError, match='num_steps: 200 there, 100 now'):
    configuration.save(config('vae', '--config.num_steps=100'), tmp_path)


@pytest.mark.parametrize('section', ['optimizer', 'critic_optimizer'])
def test_a_run_whose_rate_decays_keeps_its_length(tmp_path: Path, section: str) -> None:
  cosine = f'--config.{section}.schedule=cosine'
  configuration.save(config('gan', '--config.num_steps=100', cosine), tmp_path)
  with pytest.raises(UserError, match='num_steps: 100 there, 200 now'):
    configuration.save(config('gan', '--config.num_steps=200', cosine), tmp_path)


def test_a_saved_config_is_json_and_nothing_in_a_workdir_is_executed(tmp_path: Path) -> None:
  configuration.save(config('vae'), tmp_path)
  assert json.loads((tmp_path / configuration.FILE).read_text())['objective']['name'] == 'vae'
  trap = f'open({str(tmp_path / "sprung")!r}, "w")\ndef get_config(): return {{}}\n'
  for name in ('config.py', 'sitecustomize.py', '__init__.py', 'config.json.py'):
    (tmp_path / name).write_text(trap)
  configuration.load(None, tmp_path, [])
  assert not (tmp_path / 'sprung').exists()


@given(
  content=st.binary(max_size=300)
  | st.recursive(
    st.none() | SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
  ).map(lambda value: json.dumps(value).encode())
)
def test_a_garbled_config_is_a_user_error(
  content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
  folder = tmp_path_factory.mktemp('run')
  (folder / configuration.FILE).write_bytes(content)
  with contextlib.suppress(UserError):
    checks.check_division(configuration.load(None, folder, ['--config.seed=1']), 1)


def test_words_of_a_tuple_are_given_as_numbers_are() -> None:
  study = ml_collections.ConfigDict({'numbers': ('a', 'b'), 'sizes': (1, 2), 'one': 'a'})
  for words in ('fid,kid', "('fid','kid')"):
    assert configuration.override(study, [f'--config.numbers={words}']).numbers == ('fid', 'kid')
  assert configuration.override(study, ['--config.numbers=fid']).numbers == ('fid',)
  assert configuration.override(study, ['--config.sizes=3', '--config.one=b,c']).one == 'b,c'
